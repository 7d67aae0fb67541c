"""The documents of a corpus, or groups of them, read in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.data.store import Positions, Tokens
from recurra.errors import ConfigError

__all__ = ["Reordered", "check_reordering"]


class Reordered(Tokens):
    """Tokens whose segments are read in another order; nothing is moved on disk.

    The last segment stays last: a corpus may end in the middle of a document. Every other ends with an end of text, so
    each document begins as it does in the corpus: from the end of the one before it, whichever that is.

    Args:
        tokens: N of them, as they lie.
        segments: ascending positions at which segments begin, S of them, the first 0, each a start of a document.
        order: a permutation of the numbers of all segments but the last, (S - 1,).
    """

    def __init__(self, tokens: Tokens, segments: Positions, order: NDArray[np.int64]) -> None:
        super().__init__(tokens.shards, tokens.documents, tokens.num_chars, tokens.labelled)
        self._tokens = tokens
        lengths = np.diff(np.append(segments, len(tokens)))
        order = np.append(order, len(segments) - 1)
        self._new = np.concatenate([[0], np.cumsum(lengths[order])[:-1]])
        self._shift: Positions = segments[order] - self._new

    @classmethod
    def drawn(cls, tokens: Tokens, by: str, seed: Sequence[int]) -> Reordered:
        """Draw an order of ``documents``, or of ``shards``: groups of the documents that begin in one."""
        segments = _segments(tokens, by)
        return cls(tokens, segments, np.random.default_rng(seed).permutation(len(segments) - 1))

    def original(self, positions: NDArray[Any]) -> Positions:
        """Return where in the corpus as it lies the tokens at these positions are."""
        found: Positions = positions + self._shift[np.searchsorted(self._new, positions, side="right") - 1]
        return found

    def take(self, positions: NDArray[Any]) -> Positions:
        """Return the ids at positions of the new order."""
        return self._tokens.take(self.original(positions))

    def __getitem__(self, stretch: slice) -> NDArray[Any]:
        """Return the ids of a stretch of the new order, copied."""
        return self.take(np.arange(*stretch.indices(len(self)))).astype(self.shards.dtype)

    @property
    def ids(self) -> NDArray[Any]:
        """All of them in the new order, copied."""
        return self[:]

    @property
    def starts(self) -> Positions:
        """Positions in the new order before which all is forgotten."""
        positions = np.arange(len(self))
        return positions[self.begins(positions)]

    def begins(self, positions: Positions) -> NDArray[np.bool_]:
        """Tell which positions of the new order are those at which a document begins to be read."""
        found = self._tokens.begins(original := self.original(positions))
        if not self.labelled:
            # Wherever the corpus's first document comes, it begins from the end of the one before it, too.
            found = found & ((original > 0) | np.equal(self._end_of_first, 0))
        return found | np.equal(positions, 0)

    @property
    def _end_of_first(self) -> int:
        return int(self.documents[1]) - 1 if len(self.documents) > 1 else -1


def check_reordering(tokens: Tokens, by: str) -> None:
    """Raise ConfigError if there is no other order to read tokens in."""
    count = len(_segments(tokens, by))
    if count < 3:
        what = "documents" if by == "documents" else "shards in which documents begin"
        raise ConfigError(
            f"order '{by}' has nothing to reorder: the corpus has {count} of the {what}, and the last stays last; "
            f"leave it out"
        )


def _segments(tokens: Tokens, by: str) -> Positions:
    """Return where the segments of a corpus begin: its documents, or of each shard the first that begins in it."""
    documents = np.asarray(tokens.documents)
    if by == "documents":
        return documents
    first = np.searchsorted(documents, tokens.shards.begin[:-1])
    return documents[np.unique(first[first < len(documents)])]
