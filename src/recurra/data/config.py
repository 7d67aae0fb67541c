"""Settings of a corpus."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

from recurra.config import check_at_least, check_choice
from recurra.data import counting
from recurra.data.tokenizers import KINDS
from recurra.errors import ConfigError

__all__ = ["BUILT_IN", "DataConfig", "check_vocabulary", "share_or_path"]

BUILT_IN = (counting.NAME,)
MAX_VOCAB = 1_000_000


def share_or_path(valid: float | str) -> float | str:
    """Return the share that a setting ``valid`` says, or else the name of a file. Raises: ConfigError for no share."""
    with contextlib.suppress(ValueError):
        valid = float(valid)
    if isinstance(valid, float) and not 0 <= valid < 1:
        raise ConfigError(f"'valid' is a fraction, at least 0 and below 1, or a file, not {valid}")
    return valid


def check_vocabulary(tokenizer: str | None, vocab: int | None) -> None:
    """Raise ConfigError for a kind of tokenizer, or a number of tokens, that there is not."""
    check_choice(KINDS, tokenizer=tokenizer)
    check_at_least(2, vocab=vocab)
    if vocab is not None and vocab > MAX_VOCAB:
        raise ConfigError(f"'vocab' must be at most {MAX_VOCAB:,}, not {vocab:,}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where a corpus comes from and how it becomes tokens.

    Args:
        source: a text file, a folder of text files, ``-`` for standard input, or the built-in ``counting``.
        tokenizer: char, byte, word or bpe. Default: word for counting, else char.
        vocab: largest number of tokens. Default: 2048 for bpe, without limit for char and word.
        valid: the validation part: a fraction, taken from the end, or a file or folder. Default: 0.1; 0.2 for counting.
            0 leaves the validation part empty.
        condition: the column of labels, by name or number from 1: the source is a table of labelled texts, each of them
            a document behind its label, and the validation part is drawn with an equal share of each label.
        input: the column of texts. Default: by its name, or the one that is left.
        balance: how often texts of rare labels are repeated: 0 not at all, 1 until all labels have as many as the most
            frequent, between them n (m / n)^balance instead of n, if that has m.
        skip_bad: leave out rows of the table that cannot be used, instead of refusing them.
    """

    source: str = counting.NAME
    tokenizer: str | None = None
    vocab: int | None = None
    valid: float | str | None = None
    condition: str | None = None
    input: str | None = None
    balance: float = 0.0
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if self.valid is not None:
            object.__setattr__(self, "valid", share_or_path(self.valid))
        check_vocabulary(self.tokenizer, self.vocab)
        if not 0 <= self.balance <= 1:
            raise ConfigError(f"'balance' is at least 0 and at most 1, not {self.balance}")
        given = {"input": self.input is not None, "balance": self.balance > 0, "skip_bad": self.skip_bad}
        if self.condition is None and any(given.values()):
            name = next(name for name, is_given in given.items() if is_given)
            raise ConfigError(f"'{name}' is for a table of labelled texts; give its 'condition' too, or leave it out")

    def resolved(self) -> DataConfig:
        """Return a copy in which the defaults that depend on the source are filled in."""
        built_in = self.source in BUILT_IN
        tokenizer = self.tokenizer or ("word" if built_in else "char")
        valid = (counting.VALID_FRACTION if built_in else 0.1) if self.valid is None else self.valid
        return replace(self, tokenizer=tokenizer, valid=valid)
