"""Settings of a data set of examples."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from recurra.config import check_at_least, check_choice
from recurra.data.tokenizers import KINDS
from recurra.errors import ConfigError

__all__ = ["TASKS", "DatasetConfig"]

TASKS = ("classify", "tag", "translate", "caption")


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Where examples come from, and how they become numbers.

    Args:
        task: classify, tag, translate or caption.
        source: a table, a folder, or ``-`` for standard input.
        valid: the validation part: a fraction, drawn so that equal inputs stay together, or a file or folder. 0 leaves
            it empty.
        input, target: names of the columns to read. Default: those with a name that says it, else the first two.
        tokenizer, vocab: of texts that are read. Default: word where inputs are of several words, else char; to
            translate, bpe of 8,000 tokens for more than 5,000 examples of several words, else char.
        target_tokenizer, target_vocab: of texts that are written. Default: word for captions, else by the same rule.
        lowercase: read texts in lower case; what is written keeps its case.
        rate: samples per second of sounds. Default: that of the first, at most 16,000.
        mels: bands of sounds.
        size: height and width of pictures. Default: those of the first, at most 64.
        skip_bad: leave out rows that cannot be used, instead of refusing them.
    """

    task: str
    source: str
    valid: float | str = 0.1
    input: str | None = None
    target: str | None = None
    tokenizer: str | None = None
    vocab: int | None = None
    target_tokenizer: str | None = None
    target_vocab: int | None = None
    lowercase: bool = False
    rate: int | None = None
    mels: int = 40
    size: int | None = None
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.valid, int | str):
            with contextlib.suppress(ValueError):  # otherwise it is the name of a file
                object.__setattr__(self, "valid", float(self.valid))
        check_choice(TASKS, task=self.task)
        check_choice(KINDS, tokenizer=self.tokenizer, target_tokenizer=self.target_tokenizer)
        check_at_least(2, vocab=self.vocab, target_vocab=self.target_vocab)
        check_at_least(1000, rate=self.rate)
        check_at_least(3, mels=self.mels)
        check_at_least(1, size=self.size)
        if isinstance(self.valid, float) and not 0 <= self.valid < 1:
            raise ConfigError(f"'valid' is a fraction, at least 0 and below 1, or a file, not {self.valid}")
        if self.task == "tag" and self.tokenizer not in (None, "word", "char"):
            raise ConfigError(
                f"to tag, 'tokenizer' is word or char, which have one token per label, not {self.tokenizer}"
            )
