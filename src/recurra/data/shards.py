"""Arrays that lie one after the other, opened when something of them is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shards"]


class Shards:
    """Arrays of ids, one after the other, as one row of N.

    Args:
        lengths: of each array.
        dtype: of all of them.
        load: returns the array of a number; called once for each, and only when something of it is asked for.
    """

    def __init__(self, lengths: Sequence[int], dtype: np.dtype[Any], load: Callable[[int], NDArray[Any]]) -> None:
        self.dtype = dtype
        self.begin = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        """Positions at which they begin, and the end of the last, (S + 1,)."""
        self._load = load
        self._loaded: dict[int, NDArray[Any]] = {}

    @classmethod
    def of(cls, array: NDArray[Any]) -> Shards:
        """Take an array that is there."""
        return cls([len(array)], array.dtype, lambda number: array)

    def __len__(self) -> int:
        return int(self.begin[-1])

    @property
    def count(self) -> int:
        """S, how many there are."""
        return len(self.begin) - 1

    def array(self, number: int) -> NDArray[Any]:
        """Return one of them."""
        if number not in self._loaded:
            self._loaded[number] = self._load(number)
        return self._loaded[number]

    def take(self, positions: NDArray[Any]) -> NDArray[np.int64]:
        """Return the ids at positions of any shape, 0 <= position < N, as int64."""
        if self.count == 1:
            ids: NDArray[np.int64] = self.array(0)[positions].astype(np.int64)
            return ids
        where = np.searchsorted(self.begin, positions, side="right") - 1
        found = np.empty(np.shape(positions), np.int64)
        for number in np.unique(where):
            here = where == number
            found[here] = self.array(int(number))[positions[here] - self.begin[number]]
        return found

    def stretch(self, start: int, stop: int) -> NDArray[Any]:
        """Return the ids from start to stop: a view where they lie in one array, else a copy."""
        first = int(np.searchsorted(self.begin, start, side="right")) - 1
        parts = list[NDArray[Any]]()
        for number in range(max(0, first), self.count):
            begin = int(self.begin[number])
            if begin >= stop and parts:
                break
            parts.append(self.array(number)[max(0, start - begin) : max(0, stop - begin)])
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, self.dtype)
