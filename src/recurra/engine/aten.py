"""How each operation of torch is read: the table that `recurra.engine.lowering` works by."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from recurra.engine.recording import Call, CannotCompileError
from recurra.engine.values import Value, as_boolean, concatenate, reshape, take

if TYPE_CHECKING:
    from recurra.engine.lowering import Lowering

__all__ = ["HEAVY", "LOWERINGS"]

aten = torch.ops.aten
Lower = Callable[..., Any]

# Each gets the `Lowering`, the call and the call's arguments; it returns a Value, or a list with one per result of the
# call (None for a result that is not lowered: whoever uses it stays on the loop).
LOWERINGS: dict[Any, Lower] = {}

# What is done before or after the loop if it can: products, reductions.
HEAVY = {
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.mv.default,
    aten.native_layer_norm.default,
    aten._softmax.default,
    aten.sum.dim_IntList,
    aten.mean.dim,
    aten.amax.default,
    aten.max.dim,
}


def _lowers(*functions: Any) -> Callable[[Lower], Lower]:
    def register(lower: Lower) -> Lower:
        LOWERINGS.update(dict.fromkeys(functions, lower))
        return lower

    return register


def _pointwise(op: str, *functions: Any) -> None:
    LOWERINGS.update(dict.fromkeys(functions, lambda low, call, *args, **_: low.pointwise(op, *args)))


for _name in ["neg", "abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sigmoid", "tanh", "relu", "erf"]:
    _pointwise(_name, getattr(aten, _name).default)
for _name in ["lt", "le", "gt", "ge", "eq", "ne"]:
    _pointwise(_name, getattr(aten, _name).Tensor, getattr(aten, _name).Scalar)
_pointwise("mul", aten.mul.Tensor, aten.mul.Scalar)
_pointwise("div", aten.div.Tensor, aten.div.Scalar)
_pointwise("minimum", aten.minimum.default)
_pointwise("maximum", aten.maximum.default)
_pointwise("where", aten.where.self, aten.where.ScalarSelf, aten.where.ScalarOther, aten.where.Scalar)
_pointwise("detach", aten.detach.default)


@_lowers(aten.add.Tensor, aten.add.Scalar)
def _add(low: Lowering, call: Call, a: Any, b: Any, alpha: float = 1) -> Value:
    a, b = low.operands(a, b)
    return low.apply("add", a, b if alpha == 1 else low.apply("mul", b, low.operand(alpha)))


@_lowers(aten.sub.Tensor, aten.sub.Scalar)
def _sub(low: Lowering, call: Call, a: Any, b: Any, alpha: float = 1) -> Value:
    a, b = low.operands(a, b)
    return low.apply("sub", a, b if alpha == 1 else low.apply("mul", b, low.operand(alpha)))


@_lowers(aten.rsub.Scalar, aten.rsub.Tensor)
def _rsub(low: Lowering, call: Call, a: Any, b: Any, alpha: float = 1) -> Value:
    return _sub(low, call, b, a) if alpha == 1 else low.apply("neg", _sub(low, call, a, b))


@_lowers(aten.reciprocal.default)
def _reciprocal(low: Lowering, call: Call, a: Any) -> Value:
    return low.pointwise("div", 1.0, a)


@_lowers(aten.pow.Tensor_Scalar)
def _power(low: Lowering, call: Call, a: Any, exponent: float) -> Value:
    return low.pointwise("power", a, attributes=(float(exponent),))


@_lowers(aten.clamp.default, aten.hardtanh.default)
def _clamp(
    low: Lowering, call: Call, a: Any, low_: float | None = None, high: float | None = None, **more: Any
) -> Value:
    bounds = (more.get("min", low_), more.get("max", high))
    if call.function is aten.hardtanh.default:
        bounds = (-1.0 if low_ is None else low_, 1.0 if high is None else high)
    lower, upper = bounds
    limits = (-math.inf if lower is None else float(lower), math.inf if upper is None else float(upper))
    return low.pointwise("clamp", a, attributes=limits)


@_lowers(aten.clamp_min.default)
def _clamp_min(low: Lowering, call: Call, a: Any, least: float) -> Value:
    return low.pointwise("clamp", a, attributes=(float(least), math.inf))


@_lowers(aten.clamp_max.default)
def _clamp_max(low: Lowering, call: Call, a: Any, most: float) -> Value:
    return low.pointwise("clamp", a, attributes=(-math.inf, float(most)))


@_lowers(aten.leaky_relu.default)
def _leaky_relu(low: Lowering, call: Call, a: Any, slope: float = 0.01) -> Value:
    x, zero = low.operand(a), low.operand(0.0)
    return low.apply("where", low.apply("gt", x, zero), x, low.apply("mul", x, low.operand(slope)))


@_lowers(aten.elu.default)
def _elu(low: Lowering, call: Call, a: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    x, zero = low.operand(a), low.operand(0.0)
    # expm1 of what is below zero alone: its derivative above would be infinite, and infinity times zero is no number
    bent = low.apply(
        "expm1", low.apply("mul", low.apply("clamp", x, attributes=(-math.inf, 0.0)), low.operand(input_scale))
    )
    below = low.apply("mul", bent, low.operand(alpha * scale))
    return low.apply("where", low.apply("gt", x, zero), low.apply("mul", x, low.operand(scale)), below)


@_lowers(aten.silu.default)
def _silu(low: Lowering, call: Call, a: Any) -> Value:
    x = low.operand(a)
    return low.apply("mul", x, low.apply("sigmoid", x))


@_lowers(aten.gelu.default)
def _gelu(low: Lowering, call: Call, a: Any, approximate: str = "none") -> Value:
    x = low.operand(a)
    if approximate == "tanh":
        cube = low.apply("mul", low.operand(0.044715), low.apply("power", x, attributes=(3.0,)))
        inner = low.apply("mul", low.operand(math.sqrt(2 / math.pi)), low.apply("add", x, cube))
        bell = low.apply("tanh", inner)
    else:
        bell = low.apply("erf", low.apply("mul", x, low.operand(math.sqrt(0.5))))
    half = low.apply("mul", x, low.operand(0.5))
    return low.apply("mul", half, low.apply("add", low.operand(1.0), bell))


@_lowers(aten.softplus.default)
def _softplus(low: Lowering, call: Call, a: Any, beta: float = 1, threshold: float = 20) -> Value:
    x = low.operand(a)
    scaled = low.apply("mul", x, low.operand(beta))
    soft = low.apply("div", _log1p_exp(low, scaled), low.operand(beta))
    return low.apply("where", low.apply("gt", scaled, low.operand(threshold)), x, soft)


@_lowers(aten.log_sigmoid_forward.default)
def _log_sigmoid(low: Lowering, call: Call, a: Any) -> list[Value | None]:
    return [low.apply("neg", _log1p_exp(low, low.apply("neg", low.operand(a)))), None]


def _log1p_exp(low: Lowering, x: Value) -> Value:
    """log(1 + eˣ) without overflow: max(x, 0) + log1p(e^-|x|)."""
    tail = low.apply("log1p", low.apply("exp", low.apply("neg", low.apply("abs", x))))
    return low.apply("add", low.apply("relu", x), tail)


@_lowers(aten.logical_and.default, aten.bitwise_and.Tensor)
def _and(low: Lowering, call: Call, a: Any, b: Any) -> Value:
    return _logical(low, "and", a, b)


@_lowers(aten.logical_or.default, aten.bitwise_or.Tensor)
def _or(low: Lowering, call: Call, a: Any, b: Any) -> Value:
    return _logical(low, "or", a, b)


@_lowers(aten.logical_not.default, aten.bitwise_not.default)
def _not(low: Lowering, call: Call, a: Any) -> Value:
    return _logical(low, "not", a)


def _logical(low: Lowering, op: str, *args: Any) -> Value:
    return low.apply(op, *(as_boolean(low.builder, value) for value in low.operands(*args)))


@_lowers(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def _masked_fill(low: Lowering, call: Call, a: Any, mask: Any, value: Any) -> Value:
    return low.pointwise("where", mask, value, a)


# shapes


def _actual(low: Lowering, call: Call, result: int = 0) -> tuple[int, ...]:
    number = call.outputs[result]
    assert number is not None
    return low.recording.shapes[number]


@_lowers(aten.clone.default, aten.alias.default, aten.lift_fresh.default, aten.contiguous.default)
def _same(low: Lowering, call: Call, a: Any, **_: Any) -> Value:
    return low.operand(a)


@_lowers(aten._to_copy.default)
def _to_copy(low: Lowering, call: Call, a: Any, **_: Any) -> Value:
    number = call.outputs[0]
    assert number is not None
    before, after = low.recording.dtypes[a.number], low.recording.dtypes[number]
    if before == after:
        return low.operand(a)
    if before == torch.bool and after == low.dtype:
        return low.apply("copy", low.operand(a))
    if after == torch.bool:
        return as_boolean(low.builder, low.operand(a))
    raise CannotCompileError(f"the type changes from {before} to {after}")


@_lowers(aten.view.default, aten._unsafe_view.default, aten.reshape.default)
def _view(low: Lowering, call: Call, a: Any, *_: Any) -> Value:
    return reshape(low.operand(a), _actual(low, call))


LOWERINGS.update(
    dict.fromkeys((aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default), _view)
)


@_lowers(aten.permute.default)
def _permute(low: Lowering, call: Call, a: Any, dims: list[int]) -> Value:
    value = low.operand(a)
    axes = tuple(axis for dim in dims if (axis := value.axis(dim)) is not None)
    return Value(value.shape, value.pieces, axes, tuple(value.actual[dim] for dim in dims))


@_lowers(aten.transpose.int)
def _transpose(low: Lowering, call: Call, a: Any, first: int, second: int) -> Value:
    dims = list(range(len(_actual(low, call))))
    dims[first], dims[second] = dims[second], dims[first]
    return _permute(low, call, a, dims)


@_lowers(aten.t.default)
def _t(low: Lowering, call: Call, a: Any) -> Value:
    return _transpose(low, call, a, 0, 1)


@_lowers(aten.expand.default)
def _expand(low: Lowering, call: Call, a: Any, *_: Any, **__: Any) -> Value:
    value, actual = low.operand(a), _actual(low, call)
    shape = tuple(size for size in actual[1:] if size != 1)
    if value.shape == shape:
        return reshape(value, actual)
    if value.shape or actual[0] != -1:
        raise CannotCompileError("an expansion of a row's axis")
    return Value.of(low.builder.widen(value.pieces[0], math.prod(shape)), actual)


@_lowers(aten.slice.Tensor)
def _slice(low: Lowering, call: Call, a: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
    value, actual = low.operand(a), _actual(low, call)
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


@_lowers(aten.select.int)
def _select(low: Lowering, call: Call, a: Any, dim: int, index: int) -> Value:
    value = low.operand(a)
    if value.actual[dim] == 1:
        return reshape(value, _actual(low, call))
    if not value.is_last(dim):
        raise CannotCompileError("a selection from an axis other than the last")
    index %= value.shape[-1]
    return _part(low, value, index, index + 1, _actual(low, call))


@_lowers(aten.split.Tensor, aten.split_with_sizes.default, aten.unsafe_split.Tensor, aten.chunk.default)
def _split(low: Lowering, call: Call, a: Any, sizes: Any, dim: int = 0) -> list[Value]:
    value, start, parts = low.operand(a), 0, []
    if not value.is_last(dim):
        raise CannotCompileError("a split of an axis other than the last")
    for n in range(len(call.outputs)):
        actual = _actual(low, call, n)
        size = actual[dim]
        parts.append(_part(low, value, start, start + size, actual))
        start += size
    return parts


@_lowers(aten.unbind.int)
def _unbind(low: Lowering, call: Call, a: Any, dim: int = 0) -> list[Value]:
    value = low.operand(a)
    if not value.is_last(dim):
        raise CannotCompileError("a split of an axis other than the last")
    return [_part(low, value, n, n + 1, _actual(low, call, n)) for n in range(len(call.outputs))]


@_lowers(aten.cat.default)
def _cat(low: Lowering, call: Call, parts: list[Any], dim: int = 0) -> Value:
    return concatenate([low.operand(part) for part in parts], dim, _actual(low, call))


@_lowers(aten.slice_scatter.default)
def _slice_scatter(
    low: Lowering, call: Call, a: Any, source: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    value, new = low.operand(a), low.operand(source)
    if step != 1 or not value.is_last(dim):
        raise CannotCompileError("a slice of an axis other than the last, or with a step")
    begin, stop, _ = slice(start, end).indices(value.shape[-1])
    left, right = take(value, 0, begin, low.slice), take(value, stop, value.shape[-1], low.slice)
    middle = new.pieces if new.shape else [low.builder.widen(new.pieces[0], stop - begin)]
    return value.with_pieces([*left, *middle, *right])


def _filled(constant: float) -> Lower:
    def lower(low: Lowering, call: Call, *_: Any, **__: Any) -> Value:
        return _full_of(low, call, constant)

    return lower


def _full_of(low: Lowering, call: Call, constant: float) -> Value:
    actual = _actual(low, call)
    if actual[:1] != (-1,):
        return Value((), (low.builder.constant(constant),), ())
    return Value.of(low.builder.widen(low.builder.constant(constant), math.prod(actual[1:])), actual)


_lowers(aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default)(_filled(0.0))
_lowers(aten.ones.default, aten.ones_like.default, aten.new_ones.default)(_filled(1.0))


@_lowers(aten.full.default, aten.full_like.default, aten.new_full.default)
def _full(low: Lowering, call: Call, _: Any, constant: Any, **__: Any) -> Value:
    return _full_of(low, call, float(constant))


@_lowers(aten.scalar_tensor.default)
def _scalar_tensor(low: Lowering, call: Call, constant: Any, **_: Any) -> Value:
    return low.operand(constant)


# products and reductions


@_lowers(aten.mm.default)
def _mm(low: Lowering, call: Call, a: Any, b: Any) -> Value:
    return low.product(low.operand(a), b.number)


@_lowers(aten.addmm.default)
def _addmm(low: Lowering, call: Call, bias: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    product = low.product(low.operand(a), b.number)
    if alpha != 1:
        product = low.apply("mul", product, low.operand(alpha))
    extra = low.operand(bias, product)
    return low.apply("add", product, extra if beta == 1 else low.apply("mul", extra, low.operand(beta)))


@_lowers(aten.bmm.default)
def _bmm(low: Lowering, call: Call, a: Any, b: Any) -> Value:
    return low.block_product(low.operand(a), b.number)


def _whole_row(value: Value, dims: Any) -> None:
    dims = [dims] if isinstance(dims, int) else list(range(len(value.actual))) if not dims else dims
    reduced = {axis for dim in dims if (axis := value.axis(dim)) is not None}
    if reduced != set(range(1, len(value.shape) + 1)):
        raise CannotCompileError("a reduction over anything but the whole row")


def _reduce(low: Lowering, call: Call, a: Any, dims: Any, op: str) -> Value:
    value = low.operand(a)
    _whole_row(value, dims)
    node = low.total(value, op) if value.shape else value.pieces[0]
    return Value((), (node,), (0,), _actual(low, call))


@_lowers(aten.sum.dim_IntList)
def _sum(low: Lowering, call: Call, a: Any, dims: Any, keepdim: bool = False, **_: Any) -> Value:
    return _reduce(low, call, a, dims, "total")


@_lowers(aten.mean.dim)
def _mean(low: Lowering, call: Call, a: Any, dims: Any, keepdim: bool = False, **_: Any) -> Value:
    count = math.prod(low.operand(a).shape)
    return low.apply("mul", _reduce(low, call, a, dims, "total"), low.operand(1 / count))


@_lowers(aten.amax.default)
def _amax(low: Lowering, call: Call, a: Any, dims: Any = (), keepdim: bool = False) -> Value:
    return _reduce(low, call, a, dims, "highest")


@_lowers(aten.max.dim)
def _max(low: Lowering, call: Call, a: Any, dim: int, keepdim: bool = False) -> list[Value | None]:
    return [_reduce(low, call, a, dim, "highest"), None]


@_lowers(aten._softmax.default)
def _softmax(low: Lowering, call: Call, a: Any, dim: int, half_to_float: bool = False) -> Value:
    value = low.operand(a)
    _whole_row(value, dim)
    row = Value((), (low.total(value, "highest"),), (0,), (-1, *[1] * (len(value.actual) - 1)))
    shifted = low.apply("exp", low.apply("sub", value, low.apply("detach", row)))
    return low.apply("div", shifted, row.with_pieces([low.total(shifted)]))


@_lowers(aten.native_layer_norm.default)
def _layer_norm(
    low: Lowering, call: Call, a: Any, shape: list[int], weight: Any, bias: Any, eps: float
) -> list[Value | None]:
    value, builder = low.operand(a), low.builder
    if math.prod(shape) != math.prod(value.shape):
        raise CannotCompileError("a layer norm over anything but the whole row")
    count = low.operand(1 / math.prod(shape))
    row = Value((), (low.total(value),), (0,), (-1, *[1] * (len(value.actual) - 1)))
    mean = low.apply("mul", row, count)
    centred = low.apply("sub", value, mean)
    squares = row.with_pieces([low.total(low.apply("mul", centred, centred))])
    variance = low.apply("add", low.apply("mul", squares, count), low.operand(eps))
    # The last attribute tells this group of pieces, whose derivative is taken at once, from others.
    group = (math.prod(shape), value.pieces[0].index)
    (root,) = low.apply("detach", low.apply("rsqrt", variance)).pieces
    scale = builder.node("copy", (root,), 1, group)
    pieces = [builder.node("normalised", (p, mean.pieces[0], scale), p.channels, group) for p in value.pieces]
    result = value.with_pieces(pieces)
    if weight is not None:
        result = low.apply("mul", result, low.operand(weight, result))
    if bias is not None:
        result = low.apply("add", result, low.operand(bias, result))
    return [result, None, None]
