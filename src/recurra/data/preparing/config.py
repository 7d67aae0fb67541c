"""Settings of preparing a corpus."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recurra.config import check_at_least
from recurra.data.config import check_vocabulary, share_or_path
from recurra.errors import ConfigError

__all__ = ["PrepareConfig"]

SHARD_TOKENS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How files become a store of tokens; how many processes do it changes nothing.

    Args:
        tokenizer: char, byte, word or bpe. Default: char, or that of `vocabulary`.
        vocab: largest number of tokens. Default: 2048 for bpe, without limit for char and word.
        vocabulary: take that of this run directory, store or tokenizer.json, rather than make one.
        valid: the validation part: a fraction, taken from the end, or files. 0 leaves it empty. Default: 0.1.
        input: the column of texts in JSON lines, Parquet and data sets. Default: ``text``, or the only one of strings.
        shard_tokens: tokens after which a shard ends, about.
    """

    tokenizer: str | None = None
    vocab: int | None = None
    vocabulary: str | None = None
    valid: float | str = 0.1
    input: str | None = None
    shard_tokens: int = SHARD_TOKENS

    def __post_init__(self) -> None:
        object.__setattr__(self, "valid", share_or_path(self.valid))
        check_vocabulary(self.tokenizer, self.vocab)
        check_at_least(1, shard_tokens=self.shard_tokens)
        if self.tokenizer == "byte" and self.vocab is not None:
            raise ConfigError(
                f"'vocab' has no meaning for the 256 bytes; leave out {self.vocab}, or take --tokenizer bpe"
            )

    def resolved(self, kind: str | None) -> PrepareConfig:
        """Return a copy with the kind of tokenizer filled in: of a given vocabulary, or the default.

        Raises: ConfigError if there is a vocabulary, and yet another is described.
        """
        for name in ("tokenizer", "vocab"):
            if kind is not None and getattr(self, name) is not None:
                raise ConfigError(f"'vocabulary' takes one that is there, so leave out '{name}'")
        return replace(self, tokenizer=kind or self.tokenizer or "char")
