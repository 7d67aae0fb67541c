"""What a compiled loop is given, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from recurra.engine.native.script import Strides
from recurra.engine.native.workspace import Loan

__all__ = ["Given", "Left", "Shape"]


class Given(NamedTuple):
    """What a loop reads.

    Args:
        streams: (T·B, width) each, or (B, width) where all steps share it; of a fed one, x (T·B, I).
        feeds: by number of the stream, the matrix (I, width): the stream is x times it.
        states: (B, width) of each leaf.
    """

    streams: list[Tensor]
    feeds: dict[int, Tensor]
    vectors: list[Tensor]
    weights: list[Tensor]
    states: list[Tensor]

    def depths(self) -> dict[int, int]:
        """Return for each fed stream how many features x has."""
        return {n: self.streams[n].shape[-1] for n in self.feeds}

    def strides(self) -> list[Strides]:
        """Return the strides of all matrices: feeds, then weights."""
        return [_strides(matrix) for matrix in (*self.feeds.values(), *self.weights)]

    def named(self) -> dict[Hashable, Tensor]:
        """Return all tensors by the names that scripts know, in the order of memory that they expect."""
        named: dict[Hashable, Tensor] = {("feed", n): feed for n, feed in self.feeds.items()}
        named.update((("weight", n), weight) for n, weight in enumerate(self.weights))
        for kind, tensors in (("stream", self.streams), ("vector", self.vectors), ("state", self.states)):
            named.update(((kind, n), tensor.contiguous()) for n, tensor in enumerate(tensors))
        return named

    def flatten(self) -> list[Tensor]:
        """Return all tensors in one list."""
        return [*self.streams, *self.feeds.values(), *self.vectors, *self.weights, *self.states]


class Shape(NamedTuple):
    """How many steps and rows there are, and how many tensors of each kind: what tells a flat list from its parts."""

    steps: int
    rows: int
    streams: int
    fed: tuple[int, ...]
    vectors: int
    weights: int

    def sort(self, tensors: Sequence[Any]) -> Given:
        """Undo `Given.flatten`."""
        rest = iter(tensors)
        streams = [next(rest) for _ in range(self.streams)]
        feeds = {number: next(rest) for number in self.fed}
        vectors = [next(rest) for _ in range(self.vectors)]
        weights = [next(rest) for _ in range(self.weights)]
        return Given(streams, feeds, vectors, weights, list(rest))


class Left(NamedTuple):
    """What a forward pass leaves for the backward pass.

    Args:
        histories: (T+1, B, width), by leaf of the state.
        emits: (T, B, width), by number.
        kept: (T, B, width) of all kept nodes, if there are any.
    """

    histories: dict[int, Tensor]
    emits: dict[int, Tensor]
    kept: Loan | None

    def tensors(self) -> list[Tensor]:
        """Return all of it."""
        kept = [] if self.kept is None else [self.kept.tensor]
        return [*self.histories.values(), *self.emits.values(), *kept]


def _strides(matrix: Tensor) -> Strides:
    *block, row, column = matrix.stride()
    return row, column, block[0] if block else 0
