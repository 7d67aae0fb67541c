"""Rows of a batch that several processes read together: which are whose, and noise that does not depend on it.

Every process draws for all rows of the batch, from a generator in the same state, and takes what falls on its own. So
a row meets the same noise however many processes there are, all generators stay alike, and one checkpoint serves all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor

from recurra.errors import ShapeError

__all__ = ["Share", "draw_rows", "own_rows", "sharing", "whole_rows"]


class Share(NamedTuple):
    """The rows of a batch that one process reads.

    Args:
        start, stop: its rows, at least one.
        rows: of the whole batch.
        counts: False in a batch of fewer rows than processes, where some read a row that another one counts: they draw
            what all draw, and add nothing.
    """

    start: int
    stop: int
    rows: int
    counts: bool = True

    @classmethod
    def of(cls, rank: int, size: int, rows: int) -> Share:
        """Return the rows of process `rank` of `size`: one after the other, the first ones one more if it must be."""
        each, more = divmod(rows, size)
        start = rank * each + min(rank, more)
        stop = start + each + (rank < more)
        return cls(start, stop, rows) if start < stop else cls(0, 1, rows, counts=False)

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def own(self) -> slice:
        """The rows, as an index."""
        return slice(self.start, self.stop)

    def take(self, tensor: Tensor, axis: int) -> Tensor:
        """Return the rows of a tensor that has all of them along an axis."""
        return tensor.narrow(axis, self.start, self.size)


# Not a variable of the context: on some devices gradients are computed, and layers with them anew, in other threads.
_current: Share | None = None


@contextmanager
def sharing(share: Share | None) -> Iterator[None]:
    """Read a part of a batch inside, of which noise is drawn as for the whole; None is all of it."""
    global _current
    before, _current = _current, share
    try:
        yield
    finally:
        _current = before


def whole_rows(rows: int) -> int:
    """Return how many rows the batch has of which these are read here. Raises: ShapeError if they are not its share."""
    if _current is None:
        return rows
    if rows != _current.size:
        raise ShapeError(f"noise was drawn for {rows} rows, where this process reads {_current.size} of a batch")
    return _current.rows


def draw_rows(draw: Callable[[int], Tensor], rows: int, axis: int) -> Tensor:
    """Draw noise for rows of a batch: all noise that has an axis of rows goes through here.

    Args:
        draw: returns noise for so many rows.
        rows: that are read here.
        axis: of the rows in what is drawn.
    Returns: the noise of the rows that are read here.
    """
    return own_rows(draw(whole_rows(rows)), axis)


def own_rows(whole: Tensor, axis: int) -> Tensor:
    """Return the rows that are read here of a tensor that has those of the whole batch along an axis."""
    return whole if _current is None else _current.take(whole, axis)
