"""Stretches of texts to ids, with ends of texts between documents."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.data.preparing.reading import Stretch
from recurra.data.tokenizers import Tokenizer, Unseen

__all__ = ["Encoded", "Encoder"]


class Encoded(NamedTuple):
    """The tokens of a stretch.

    Args:
        ids: (N,), as they are stored.
        starts: positions among them at which documents start.
        num_chars: characters that they stand for; None if they are not text.
    """

    ids: NDArray[Any]
    starts: NDArray[np.int64]
    num_chars: int | None


class Encoder:
    """Encodes stretches, each for itself.

    Args:
        tokenizer: whose ids.
        dtype: of what is stored.
        closed: documents get an end of text.
    """

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype[Any], *, closed: bool) -> None:
        self.tokenizer, self.dtype, self.closed = tokenizer, dtype, closed
        self.unseen = Unseen(tokenizer)

    def restart(self) -> None:
        """Begin to count what is outside the vocabulary anew."""
        self.unseen = Unseen(self.tokenizer)

    def encode(self, stretch: Stretch) -> Encoded:
        """Return the tokens of a stretch."""
        texts, num_chars = stretch.texts, _num_chars(stretch)
        if not stretch.begins and isinstance(texts[0], str):
            texts = [self.tokenizer.sequel(texts[0]), *texts[1:]]
        missed = Counter[str]()
        ids, lengths = self.tokenizer.lookup_all(texts, missed)  # type: ignore[arg-type]
        self.unseen.total += len(ids)
        if missed:
            absent = ids < 0
            self.unseen.missing += int(np.count_nonzero(absent))
            self.unseen.name(missed)
            if self.tokenizer.unknown is None:
                if num_chars is not None:
                    num_chars -= sum(len(symbol) * times for symbol, times in missed.items())
                ending = np.append(absent, False).astype(np.int64)
                missing = np.add.reduceat(ending, _begins(lengths)) * (lengths > 0)
                ids, lengths = ids[~absent], lengths - missing
            else:
                ids[absent] = self.tokenizer.unknown
        ids = ids.astype(self.dtype)
        if not self.closed:
            return Encoded(ids, np.zeros(0, np.int64), num_chars)
        starts = _begins(lengths)
        ended = np.cumsum(lengths)[: len(texts) if stretch.ends else len(texts) - 1]
        if self.tokenizer.end is not None and len(ended):
            ids = np.insert(ids, ended, self.tokenizer.end)
        starts = starts + np.arange(len(texts))
        return Encoded(ids, starts if stretch.begins else starts[1:], num_chars)


def _begins(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(lengths) - lengths


def _num_chars(stretch: Stretch) -> int | None:
    try:
        return sum(len(text if isinstance(text, str) else text.decode()) for text in stretch.texts)
    except UnicodeDecodeError:
        return None
