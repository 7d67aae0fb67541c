"""One token per code point."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import Fuse
from tokenizers.models import BPE

from recurra.data.tokenizers.base import END_OF_TEXT, UNKNOWN, Ids, Tokenizer

__all__ = ["CharTokenizer", "count_characters"]


class CharTokenizer(Tokenizer):
    """One token per code point; nothing is normalised, so combining marks and line ends are tokens of their own."""

    kind = "char"
    unit = "characters"

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._table = np.full(sys.maxunicode + 1, -1, np.int32)
        for name, i in self.ids.items():
            if len(name) == 1:
                self._table[ord(name)] = i

    @classmethod
    def build(
        cls,
        texts: Sequence[str],
        *,
        valid: Sequence[str] = (),
        vocab: int | None = None,
        end: bool = False,
        unknown: bool = False,
    ) -> CharTokenizer:
        """Make the vocabulary from `texts`.

        There is an ``<unk>`` only if it is asked for, `vocab` cuts some off, or `valid` holds others.
        """
        return cls.from_counts(count_characters(texts), count_characters(valid), vocab=vocab, end=end, unknown=unknown)

    @classmethod
    def from_counts(
        cls,
        counts: NDArray[np.int64],
        counts_valid: NDArray[np.int64],
        *,
        vocab: int | None = None,
        end: bool = False,
        unknown: bool = False,
    ) -> CharTokenizer:
        """Make the vocabulary from how often each code point comes in the training and the validation part."""
        codes = np.flatnonzero(counts)
        order = codes[np.argsort(-counts[codes], kind="stable")]
        known = order if vocab is None or len(order) + end + unknown <= vocab else order[: max(1, vocab - 1 - end)]
        unseen = counts_valid.copy()
        unseen[known] = 0
        names = [chr(code) for code in known]
        if unknown or len(known) < len(order) or unseen.any():
            names.append(UNKNOWN)
        if end:
            names.append(END_OF_TEXT)
        return cls(cls.make_backend(names))

    @staticmethod
    def make_backend(names: Sequence[str]) -> Backend:
        """Byte-pair encoding without a single pair: it leaves unseen characters out, as `encode` does."""
        vocabulary = {name: i for i, name in enumerate(names)}
        backend = Backend(BPE(vocabulary, [], unk_token=UNKNOWN if UNKNOWN in vocabulary else None))
        backend.decoder = Fuse()
        return backend

    def lookup(self, text: str | bytes) -> Ids:
        """Return one id per code point, -1 where it is unseen."""
        return self._table[_code_points(text)]

    def lookup_all(
        self, texts: Sequence[str] | Sequence[bytes], missing: Counter[str] | None = None
    ) -> tuple[Ids, NDArray[np.int64]]:
        """Return the same as for any tokenizer, looked up at once."""
        strings = [text.decode() if isinstance(text, bytes) else text for text in texts]
        whole = "".join(strings)
        ids = self.lookup(whole)
        if missing is not None and (ids < 0).any():
            missing.update(self.unseen(whole))
        return ids, np.fromiter(map(len, strings), np.int64, len(strings))

    def unseen(self, text: str | bytes) -> Counter[str]:
        """Count the characters outside the vocabulary."""
        codes = _code_points(text)
        values, counts = np.unique(codes[self._table[codes] < 0], return_counts=True)
        return Counter({chr(value): int(count) for value, count in zip(values, counts, strict=True)})


def _code_points(text: str | bytes) -> NDArray[np.uint32]:
    string = text.decode() if isinstance(text, bytes) else text
    return np.frombuffer(string.encode("utf-32-le", "surrogatepass"), "<u4")


def count_characters(texts: Iterable[str], counts: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return how often each code point comes, (1114112,), added to `counts` where there are some already."""
    counts = np.zeros(sys.maxunicode + 1, np.int64) if counts is None else counts
    for text in texts:
        found = np.bincount(_code_points(text))
        counts[: len(found)] += found
    return counts
