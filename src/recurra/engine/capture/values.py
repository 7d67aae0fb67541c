"""Tensors of a step as pieces: how shapes, views and broadcasting come down to vectors of channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

from recurra.engine.graphs.graph import Builder, CannotCompileError, Node

__all__ = ["Value", "as_boolean", "as_number", "broadcast", "concatenate", "numel", "reshape", "take"]

Slice = Callable[[Node, int, int, int], Node]


def numel(shape: Sequence[int]) -> int:
    """Return the number of channels of a row of this shape."""
    return math.prod(shape)


@dataclass(frozen=True)
class Value:
    """A tensor of the step.

    Args:
        shape: axes of a row that are longer than 1, in the order of memory.
        pieces: nodes side by side along the last of them; each holds that part for all other axes.
        axes: for each axis of the tensor that is longer than 1: 0 for the batch, n for the nth of `shape`.
        actual: shape of the tensor, -1 for the batch; empty for a mere number.
    """

    shape: tuple[int, ...]
    pieces: tuple[Node, ...]
    axes: tuple[int, ...]
    actual: tuple[int, ...] = ()

    @classmethod
    def of(cls, node: Node, actual: Sequence[int]) -> Value:
        """Return a node as a tensor (-1, ...)."""
        return cls.plain((node,), actual)

    @classmethod
    def plain(cls, pieces: Sequence[Node], actual: Sequence[int]) -> Value:
        """Return pieces as a tensor (-1, ...) in the order of memory."""
        shape = tuple(size for size in actual[1:] if size != 1)
        return cls(shape, tuple(pieces), tuple(range(len(shape) + 1)), tuple(actual))

    @property
    def is_plain(self) -> bool:
        """Are the axes in the order of memory, the batch first?"""
        return self.axes == tuple(range(len(self.axes)))

    @property
    def outer(self) -> int:
        """How many parts the last axis has: the product of the other axes of a row."""
        return numel(self.shape[:-1])

    @property
    def lengths(self) -> list[int]:
        """Length of each piece along the last axis."""
        return [piece.channels // self.outer for piece in self.pieces]

    def with_pieces(self, pieces: Sequence[Node]) -> Value:
        """Return the same tensor made of other pieces."""
        return replace(self, pieces=tuple(pieces))

    def axis(self, dim: int) -> int | None:
        """Return what an axis of the tensor is: 0 the batch, n the nth of `shape`, None if it is of length 1."""
        dim %= len(self.actual)
        if self.actual[dim] == 1:
            return None
        return self.axes[sum(size != 1 for size in self.actual[:dim])]

    def is_last(self, dim: int) -> bool:
        """Is an axis of the tensor the last in memory?"""
        return bool(self.shape) and self.axis(dim) == len(self.shape)


def as_number(builder: Builder, value: Value) -> Value:
    """Turn true and false into 1 and 0; numbers stay as they are."""
    one, zero = builder.constant(1.0), builder.constant(0.0)
    return value.with_pieces([builder.pointwise("where", p, one, zero) if p.is_boolean else p for p in value.pieces])


def as_boolean(builder: Builder, value: Value) -> Value:
    """Turn numbers into true, where they are not 0, and false."""
    zero = builder.constant(0.0)
    return value.with_pieces([p if p.is_boolean else builder.pointwise("ne", p, zero) for p in value.pieces])


def broadcast(values: Sequence[Value], cut: Slice) -> tuple[Value, list[tuple[Node, ...]]]:
    """Bring operands together: the tensor that the result is like, and for each of its pieces the nodes that meet."""
    like = max(values, key=lambda value: (numel(value.shape), len(value.actual), len(value.shape)))
    actual = _broadcast_shape([value.actual for value in values])
    for value in values:
        if value.shape and (value.shape != like.shape or _aligned_axes(value, actual) != _aligned_axes(like, actual)):
            raise CannotCompileError(f"tensors {value.actual} and {like.actual} meet in a way that is not pointwise")
    like = replace(like, actual=actual)
    if not like.axes and actual:
        like = replace(like, axes=(0,))
    outer = like.outer
    places = sorted({p for v in values if v.shape for p in accumulate(v.lengths, initial=0)}) or [0, 1]
    columns = []
    for start, stop in pairwise(places):
        columns.append(tuple(v.pieces[0] if not v.shape else take(v, start, stop, cut)[0] for v in values))
        assert all(node.channels in (1, (stop - start) * outer) for node in columns[-1])
    return like, columns


def _aligned_axes(value: Value, actual: Sequence[int]) -> list[int | None]:
    missing = len(actual) - len(value.actual)
    return [None] * missing + [value.axis(dim) if value.axis(dim) else None for dim in range(len(value.actual))]


def _broadcast_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    result: list[int] = [1] * max(map(len, shapes))
    for shape in shapes:
        for place, size in enumerate(reversed(shape), 1):
            if size != 1:
                if result[-place] not in (1, size):
                    raise CannotCompileError(f"tensors of shapes {shapes} meet")
                result[-place] = size
    return tuple(result)


def take(value: Value, start: int, stop: int, cut: Slice) -> tuple[Node, ...]:
    """Return the pieces of a range of the last axis."""
    found, at = [], 0
    for piece, length in zip(value.pieces, value.lengths, strict=True):
        a, b = max(start, at), min(stop, at + length)
        if a < b:
            found.append(cut(piece, a - at, b - at, value.outer))
        at += length
    return tuple(found)


def concatenate(values: Sequence[Value], dim: int, actual: tuple[int, ...]) -> Value:
    """Put tensors side by side along their last axis."""
    dim %= len(actual)
    pieces: list[Node] = []
    outer: tuple[int, ...] | None = None
    for value in values:
        is_one = value.actual[dim] == 1  # an axis of length 1 is none of the value's
        others = value.shape if is_one else value.shape[:-1]
        plain = value.is_plain and all(size == 1 for size in value.actual[dim + 1 :])
        if not plain or (is_one and len(value.pieces) > 1) or outer not in (None, others):
            raise CannotCompileError("tensors are joined along another axis than the last")
        outer = others
        pieces += value.pieces
    assert outer is not None
    shape = (*outer, actual[dim]) if actual[dim] != 1 else outer
    return Value(shape, tuple(pieces), tuple(range(len(shape) + 1)), actual)


def reshape(value: Value, actual: Sequence[Any]) -> Value:
    """View a tensor in another shape (with -1 for the batch)."""
    actual = tuple(actual)
    old, new = ([size for size in sizes if size != 1] for sizes in (value.actual, actual))
    if old == new:
        return replace(value, actual=actual)
    if not value.is_plain or not actual or actual[0] != -1 or -1 in actual[1:]:
        raise CannotCompileError(f"a view of {value.actual} as {actual} mixes rows")
    shape = tuple(size for size in actual[1:] if size != 1)
    same_last = bool(shape) and bool(value.shape) and shape[-1] == value.shape[-1]
    if len(value.pieces) > 1 and not same_last:
        raise CannotCompileError(f"a view of {value.actual} as {actual} crosses pieces that are computed apart")
    return Value.plain(value.pieces, actual)
