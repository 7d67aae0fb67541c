"""A first pass: how much there is, and which symbols, so that the parts and the vocabulary are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from recurra.data.preparing.reading import Stretch
from recurra.data.tokenizers import KINDS, Tokenizer
from recurra.data.tokenizers.characters import CharTokenizer, count_characters
from recurra.data.tokenizers.words import WordTokenizer, words_of

__all__ = ["MOST_WORDS", "Counts", "Survey", "build_from_counts"]

MOST_WORDS = 500_000
"""Different words that are counted; where there are more, the rarest are forgotten on the way."""


class Counts:
    """Counts symbols in bounded memory: characters, or words.

    Attributes:
        found: how often each came.
        forgotten: rare words were left out, so that others may be counted too low.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.found = Counter[str]()
        self.forgotten = False

    def add(self, found: Mapping[str, int]) -> None:
        """Add counts of symbols."""
        self.found.update(found)
        if self.kind == "word" and len(self.found) > 2 * MOST_WORDS:
            self.shrink()

    def shrink(self) -> None:
        """Forget all but the most frequent, of equals the last by name."""
        if len(self.found) <= MOST_WORDS:
            return
        ranked = sorted(self.found, key=lambda word: (-self.found[word], word))
        self.found = Counter({word: self.found[word] for word in ranked[:MOST_WORDS]})
        self.forgotten = True


class Survey:
    """What a pass over stretches finds.

    Args:
        kind: of tokenizer: symbols are bytes or characters; characters, or words, are counted.
        counted: whether a vocabulary is to be made of them.
    """

    def __init__(self, kind: str, *, counted: bool) -> None:
        self.kind = kind
        self.counted = counted and kind in ("char", "word")
        self.symbols = self.documents = self.left_out = 0
        self.counts = Counts(kind)

    def read(self, stretches: Iterable[Stretch]) -> Iterator[int]:
        """Read all, yielding symbols on the way."""
        characters = np.zeros(0x110000, np.int64) if self.counted and self.kind == "char" else None
        for texts, begins, _ in stretches:
            size = sum(map(len, texts))
            self.symbols += size
            self.documents += len(texts) - (not begins)
            if characters is not None:
                count_characters(["".join(texts)], characters)  # type: ignore[arg-type]
            elif self.counted:
                self._count_words(texts, begins)
            yield size
        if characters is not None:
            self.counts.add({chr(code): int(characters[code]) for code in np.flatnonzero(characters)})

    def _count_words(self, texts: list[Any], begins: bool) -> None:
        cls: type[Tokenizer] = KINDS[self.kind]
        for number, text in enumerate(texts):
            self.counts.add(Counter(words_of(text if begins or number else cls.sequel(text))))

    def as_mapping(self) -> dict[str, Any]:
        """Everything by name, for JSON."""
        return {
            "symbols": self.symbols,
            "documents": self.documents,
            "left_out": self.left_out,
            "counts": dict(self.counts.found),
            "forgotten": self.counts.forgotten,
        }

    @classmethod
    def total(cls, kind: str, surveys: Iterable[Mapping[str, Any]]) -> Survey:
        """Add up what `as_mapping` gave."""
        total = cls(kind, counted=True)
        for survey in surveys:
            total.symbols += survey["symbols"]
            total.documents += survey["documents"]
            total.left_out += survey["left_out"]
            total.counts.add(survey["counts"])
            total.counts.forgotten |= survey["forgotten"]
        total.counts.shrink()
        return total


def build_from_counts(kind: str, train: Counts, valid: Counts, *, vocab: int | None, end: bool) -> Tokenizer:
    """Make the vocabulary of characters or words that the texts themselves would give."""
    if kind == "char":
        return CharTokenizer.from_counts(_codes(train), _codes(valid), vocab=vocab, end=end)
    if train.forgotten and vocab is None:
        vocab = MOST_WORDS
    return WordTokenizer.from_counts(train.found, valid.found, vocab=vocab, end=end)


def _codes(counts: Counts) -> np.ndarray[Any, np.dtype[np.int64]]:
    found = np.zeros(0x110000, np.int64)
    for symbol, count in counts.found.items():
        found[ord(symbol)] = count
    return found
