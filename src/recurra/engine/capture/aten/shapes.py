"""Operations of torch that move numbers and compute none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from recurra.engine.capture.aten.table import LOWERINGS, Lower, lowers, shape_of
from recurra.engine.capture.recording import Call
from recurra.engine.capture.values import Value, as_boolean, concatenate, reshape, take
from recurra.engine.graphs.graph import CannotCompileError

if TYPE_CHECKING:
    from recurra.engine.capture.lowering import Lowering

__all__: list[str] = []

aten = torch.ops.aten


@lowers(aten.clone.default, aten.alias.default, aten.lift_fresh.default, aten.contiguous.default)
def _same(low: Lowering, call: Call, a: Any, **_: Any) -> Value:
    return low.operand(a)


@lowers(aten._to_copy.default)
def _to_copy(low: Lowering, call: Call, a: Any, **_: Any) -> Value:
    before, after = low.recording.dtypes[a.number], low.dtype_of(call)
    if before == after:
        return low.operand(a)
    if before == torch.bool and after == low.dtype:
        return low.apply("copy", low.operand(a))
    if after == torch.bool:
        return as_boolean(low.builder, low.operand(a))
    raise CannotCompileError(f"the type changes from {before} to {after}")


@lowers(aten.view.default, aten._unsafe_view.default, aten.reshape.default)
def _view(low: Lowering, call: Call, a: Any, *_: Any) -> Value:
    return reshape(low.operand(a), shape_of(low, call))


LOWERINGS.update(
    dict.fromkeys((aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default), _view)
)


@lowers(aten.permute.default)
def _permute(low: Lowering, call: Call, a: Any, dims: list[int]) -> Value:
    value = low.operand(a)
    axes = tuple(axis for dim in dims if (axis := value.axis(dim)) is not None)
    return Value(value.shape, value.pieces, axes, tuple(value.actual[dim] for dim in dims))


@lowers(aten.transpose.int)
def _transpose(low: Lowering, call: Call, a: Any, first: int, second: int) -> Value:
    dims = list(range(len(shape_of(low, call))))
    dims[first], dims[second] = dims[second], dims[first]
    return _permute(low, call, a, dims)


@lowers(aten.t.default)
def _t(low: Lowering, call: Call, a: Any) -> Value:
    return _transpose(low, call, a, 0, 1)


@lowers(aten.expand.default)
def _expand(low: Lowering, call: Call, a: Any, *_: Any, **__: Any) -> Value:
    actual = shape_of(low, call)
    shape = tuple(size for size in actual[1:] if size != 1)
    if low.is_parameter(a):
        return low.vector(a.number, Value.plain((), actual))
    value = low.operand(a)
    if value.shape == shape:
        return reshape(value, actual)
    if value.shape or actual[0] != -1:
        raise CannotCompileError("an expansion of a row's axis")
    return Value.of(low.builder.widen(value.pieces[0], math.prod(shape)), actual)


@lowers(aten.slice.Tensor)
def _slice(low: Lowering, call: Call, a: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
    value, actual = low.operand(a), shape_of(low, call)
    if value.actual == actual:
        return value
    if step != 1 or not value.is_last(dim):
        raise CannotCompileError("a slice of an axis other than the last, or with a step")
    begin, stop, _ = slice(start, end).indices(value.shape[-1])
    return _part(low, value, begin, stop, actual)


def _part(low: Lowering, value: Value, start: int, stop: int, actual: tuple[int, ...]) -> Value:
    pieces, outer = take(value, start, stop, low.slice), value.shape[:-1]
    if stop - start > 1:
        return Value((*outer, stop - start), pieces, value.axes, actual)
    axes = tuple(axis for axis in value.axes if axis != len(value.shape))
    return Value(outer, pieces, axes, actual)


@lowers(aten.select.int)
def _select(low: Lowering, call: Call, a: Any, dim: int, index: int) -> Value:
    value = low.operand(a)
    if value.actual[dim] == 1:
        return reshape(value, shape_of(low, call))
    if not value.is_last(dim):
        raise CannotCompileError("a selection from an axis other than the last")
    index %= value.shape[-1]
    return _part(low, value, index, index + 1, shape_of(low, call))


@lowers(aten.split.Tensor, aten.split_with_sizes.default, aten.unsafe_split.Tensor, aten.chunk.default)
def _split(low: Lowering, call: Call, a: Any, sizes: Any, dim: int = 0) -> list[Value]:
    value, start, parts = low.operand(a), 0, []
    if not value.is_last(dim):
        raise CannotCompileError("a split of an axis other than the last")
    for n in range(len(call.outputs)):
        actual = shape_of(low, call, n)
        size = actual[dim]
        parts.append(_part(low, value, start, start + size, actual))
        start += size
    return parts


@lowers(aten.unbind.int)
def _unbind(low: Lowering, call: Call, a: Any, dim: int = 0) -> list[Value]:
    value = low.operand(a)
    if not value.is_last(dim):
        raise CannotCompileError("a split of an axis other than the last")
    return [_part(low, value, n, n + 1, shape_of(low, call, n)) for n in range(len(call.outputs))]


@lowers(aten.narrow.default)
def _narrow(low: Lowering, call: Call, a: Any, dim: int, start: int, length: int) -> Value:
    return _slice(low, call, a, dim, start, start + length)


@lowers(aten.roll.default)
def _roll(low: Lowering, call: Call, a: Any, shifts: Any, dims: Any = ()) -> Value:
    value = low.operand(a)
    if len(dims) != 1 or not value.is_last(dims[0]):
        raise CannotCompileError("a roll along an axis other than the last")
    size = value.shape[-1]
    at = size - shifts[0] % size
    return value.with_pieces([*take(value, at, size, low.slice), *take(value, 0, at, low.slice)])


@lowers(aten.repeat.default)
def _repeat(low: Lowering, call: Call, a: Any, times: list[int]) -> Value:
    value, actual = low.operand(a), shape_of(low, call)
    if any(count != 1 for count in times[:-1]) or len(value.actual) != len(times):
        raise CannotCompileError("a repetition along an axis other than the last")
    return concatenate([value] * times[-1], len(times) - 1, actual)


@lowers(aten.cat.default)
def _cat(low: Lowering, call: Call, parts: list[Any], dim: int = 0) -> Value:
    return concatenate([low.operand(part) for part in parts], dim, shape_of(low, call))


@lowers(aten.slice_scatter.default)
def _slice_scatter(
    low: Lowering, call: Call, a: Any, source: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    value, new = low.operand(a), low.operand(source)
    if step != 1 or not value.is_last(dim):
        raise CannotCompileError("a slice of an axis other than the last, or with a step")
    begin, stop, _ = slice(start, end).indices(value.shape[-1])
    return _replaced(low, value, new, begin, stop)


@lowers(aten.select_scatter.default)
def _select_scatter(low: Lowering, call: Call, a: Any, source: Any, dim: int, index: int) -> Value:
    value, new = low.operand(a), low.operand(source)
    if not value.is_last(dim):
        raise CannotCompileError("a selection from an axis other than the last")
    index %= value.shape[-1]
    return _replaced(low, value, new, index, index + 1)


def _replaced(low: Lowering, value: Value, new: Value, begin: int, stop: int) -> Value:
    if value.outer > 1:
        raise CannotCompileError("a part of a tensor of several axes is replaced")
    left, right = take(value, 0, begin, low.slice), take(value, stop, value.shape[-1], low.slice)
    middle = new.pieces if new.shape else [low.builder.widen(new.pieces[0], stop - begin)]
    return value.with_pieces([*left, *middle, *right])


def _filled(constant: float) -> Lower:
    def lower(low: Lowering, call: Call, *_: Any, **__: Any) -> Value:
        return _full_of(low, call, constant)

    return lower


@lowers(aten.fill.Scalar, aten.fill.Tensor)
def _fill(low: Lowering, call: Call, a: Any, constant: Any) -> Value:
    if isinstance(constant, (bool, int, float)):
        return _full_of(low, call, float(constant))
    return _expand(low, call, constant)


def _full_of(low: Lowering, call: Call, constant: float) -> Value:
    actual = shape_of(low, call)
    if actual[:1] != (-1,):
        return Value((), (low.builder.constant(constant),), ())
    return Value.of(low.builder.widen(low.builder.constant(constant), math.prod(actual[1:])), actual)


lowers(aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default)(_filled(0.0))
lowers(aten.ones.default, aten.ones_like.default, aten.new_ones.default)(_filled(1.0))


@lowers(aten.full.default, aten.full_like.default)
def _full(low: Lowering, call: Call, _: Any, constant: Any, **__: Any) -> Value:
    return _full_of(low, call, float(constant))


@lowers(aten.new_full.default)
def _new_full(low: Lowering, call: Call, a: Any, _: Any, constant: Any, **__: Any) -> Value:
    return _full_of(low, call, float(constant))


@lowers(aten.scalar_tensor.default)
def _scalar_tensor(low: Lowering, call: Call, constant: Any, **_: Any) -> Value:
    return low.operand(constant)
