"""Products with matrices, and what is computed from a whole row."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch

from recurra.engine.capture.aten.table import lowers, shape_of
from recurra.engine.capture.recording import Call
from recurra.engine.capture.values import Value, as_number
from recurra.engine.graphs.graph import CannotCompileError, Node, Weight

if TYPE_CHECKING:
    from recurra.engine.capture.lowering import Lowering

__all__: list[str] = []

aten = torch.ops.aten


def _product(low: Lowering, value: Value, weight: int) -> Value:
    """Multiply rows by a matrix of parameters (K, N)."""
    rows, columns = low.recording.shapes[weight][-2:]
    pieces = as_number(low.builder, value).pieces
    if not value.is_plain or value.outer != 1 or sum(p.channels for p in pieces) != rows:
        raise CannotCompileError("a product of rows that are not a plain vector")
    index = low.weight(weight, Weight(rows, columns))
    starts = tuple(accumulate((p.channels for p in pieces), initial=0))[:-1]
    node = low.builder.node("product", pieces, columns, (index, False, 0, starts, 1))
    result = Value.of(node, (-1, columns))
    return low.cut(result, ("product", index, *(p.index for p in pieces)))


def _block_product(low: Lowering, value: Value, weight: int) -> Value:
    """Multiply blocks of rows (blocks, B, K) by a matrix (blocks, K, N) each: (blocks, B, N)."""
    blocks, rows, columns = low.recording.shapes[weight]
    if blocks == 1 and value.actual[0] == 1:
        result = _product(low, value, weight)
        return replace(result, actual=(1, *result.actual))
    if len(value.pieces) != 1 or value.shape != (blocks, rows) or value.axes != (1, 0, 2):
        raise CannotCompileError("a batched product that is not one of rows with a matrix per block")
    index = low.weight(weight, Weight(rows, columns, blocks))
    places = sorted({0, columns, *low.known_cuts.get(("product", index, value.pieces[0].index), ())})
    nodes = [
        low.builder.node("product", value.pieces, blocks * (b - a), (index, False, a, (0,), blocks))
        for a, b in pairwise(places)
    ]
    return Value((blocks, columns), tuple(nodes), (1, 0, 2), (blocks, -1, columns))


@lowers(aten.mm.default)
def _mm(low: Lowering, call: Call, a: Any, b: Any) -> Value:
    if low.is_parameter(a) and not low.is_parameter(b):  # A sᵀ = (s Aᵀ)ᵀ
        rows = low.operand(b)
        turned = Value(rows.shape, rows.pieces, rows.axes[::-1], rows.actual[::-1])
        found = _product(low, turned, low.derive(aten.t.default, a.number, low.shape(a)[::-1]))
        return Value(found.shape, found.pieces, found.axes[::-1], found.actual[::-1])
    return _product(low, low.operand(a), b.number)


@lowers(aten.addmm.default)
def _addmm(low: Lowering, call: Call, bias: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    return _plus(low, bias, _mm(low, call, a, b), beta, alpha)


@lowers(aten.bmm.default)
def _bmm(low: Lowering, call: Call, a: Any, b: Any) -> Value:
    if low.is_parameter(a) and not low.is_parameter(b):
        rows, (blocks, columns, inner) = low.operand(b), low.shape(a)
        turned = Value(rows.shape, rows.pieces, _turn(rows.axes), _turn(rows.actual))
        weight = low.derive(aten.transpose.int, a.number, (blocks, inner, columns), 1, 2)
        found = _block_product(low, turned, weight)
        return Value(found.shape, found.pieces, _turn(found.axes), _turn(found.actual))
    return _block_product(low, low.operand(a), b.number)


def _turn(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return (*sizes[:-2], *sizes[-2:][::-1])


@lowers(aten.baddbmm.default)
def _baddbmm(low: Lowering, call: Call, bias: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    return _plus(low, bias, _bmm(low, call, a, b), beta, alpha)


def _plus(low: Lowering, bias: Any, product: Value, beta: float, alpha: float) -> Value:
    if alpha != 1:
        product = low.apply("mul", product, low.operand(alpha))
    extra = low.operand(bias, product)
    return low.apply("add", product, extra if beta == 1 else low.apply("mul", extra, low.operand(beta)))


def _sum_up(low: Lowering, value: Value, op: str = "total") -> Node:
    """Reduce a row to one number."""
    value = as_number(low.builder, value)
    result: Node | None = None
    for piece in value.pieces:
        part = low.builder.node(op, (piece,), 1)
        if result is not None:
            part = low.builder.pointwise("add" if op == "total" else "maximum", result, part)
        result = part
    assert result is not None
    return result


def _whole_row(value: Value, dims: Any) -> None:
    dims = [dims] if isinstance(dims, int) else dims or list(range(len(value.actual)))
    reduced = {axis for dim in dims if (axis := value.axis(dim)) is not None}
    if reduced != set(range(1, len(value.shape) + 1)):
        raise CannotCompileError("a reduction over anything but the whole row")


def _row(value: Value, node: Any) -> Value:
    """Return a number per row as a tensor that meets `value`."""
    return Value((), (node,), (0,), tuple(-1 if size == -1 else 1 for size in value.actual))


def _total(low: Lowering, value: Value, op: str = "total") -> Value:
    return _row(value, _sum_up(low, value, op))


def _reduce(low: Lowering, call: Call, a: Any, dims: Any, op: str) -> Value:
    value = low.operand(a)
    _whole_row(value, dims)
    return Value((), (_sum_up(low, value, op),), (0,), shape_of(low, call))


@lowers(aten.sum.dim_IntList)
def _sum(low: Lowering, call: Call, a: Any, dims: Any, keepdim: bool = False, **_: Any) -> Value:
    return _reduce(low, call, a, dims, "total")


@lowers(aten.mean.dim)
def _mean(low: Lowering, call: Call, a: Any, dims: Any, keepdim: bool = False, **_: Any) -> Value:
    count = math.prod(low.operand(a).shape)
    return low.apply("mul", _reduce(low, call, a, dims, "total"), low.operand(1 / count))


@lowers(aten.amax.default)
def _amax(low: Lowering, call: Call, a: Any, dims: Any = (), keepdim: bool = False) -> Value:
    return _reduce(low, call, a, dims, "highest")


@lowers(aten.max.dim)
def _max(low: Lowering, call: Call, a: Any, dim: int, keepdim: bool = False) -> list[Value | None]:
    return [_reduce(low, call, a, dim, "highest"), None]


@lowers(aten.amin.default)
def _amin(low: Lowering, call: Call, a: Any, dims: Any = (), keepdim: bool = False) -> Value:
    value = low.operand(a)
    _whole_row(value, dims)
    highest = _sum_up(low, low.apply("neg", value), "highest")
    return low.apply("neg", Value((), (highest,), (0,), shape_of(low, call)))


@lowers(aten.min.dim)
def _min(low: Lowering, call: Call, a: Any, dim: int, keepdim: bool = False) -> list[Value | None]:
    return [_amin(low, call, a, dim), None]


def _variance(low: Lowering, call: Call, a: Any, dims: Any, correction: float | None) -> tuple[Value, Value]:
    value = low.operand(a)
    _whole_row(value, dims)
    count = math.prod(value.shape)
    mean = low.apply("mul", _total(low, value), low.operand(1 / count))
    centred = low.apply("sub", value, mean)
    free = count - (1 if correction is None else correction)
    squares = _total(low, low.apply("mul", centred, centred))
    return low.apply("mul", squares, low.operand(1 / free if free > 0 else math.nan)), mean


def _as_result(low: Lowering, call: Call, row: Value, result: int = 0) -> Value:
    return Value((), row.pieces, (0,), shape_of(low, call, result))


@lowers(aten.var.correction)
def _var(low: Lowering, call: Call, a: Any, dims: Any = None, *, correction: Any = None, keepdim: Any = False) -> Value:
    return _as_result(low, call, _variance(low, call, a, dims, correction)[0])


@lowers(aten.std.correction)
def _std(low: Lowering, call: Call, a: Any, dims: Any = None, *, correction: Any = None, keepdim: Any = False) -> Value:
    return low.apply("sqrt", _as_result(low, call, _variance(low, call, a, dims, correction)[0]))


@lowers(aten.var_mean.correction)
def _var_mean(
    low: Lowering, call: Call, a: Any, dims: Any = None, *, correction: Any = None, keepdim: Any = False
) -> list[Value]:
    return [_as_result(low, call, row, n) for n, row in enumerate(_variance(low, call, a, dims, correction))]


@lowers(aten.linalg_vector_norm.default)
def _norm(
    low: Lowering, call: Call, a: Any, order: float = 2, dims: Any = None, keepdim: bool = False, **_: Any
) -> Value:
    value = low.operand(a)
    _whole_row(value, dims)
    if order == 1:
        return _as_result(low, call, _total(low, low.apply("abs", value)))
    if order == math.inf:
        return _as_result(low, call, _total(low, low.apply("abs", value), "highest"))
    if order != 2:
        raise CannotCompileError(f"a norm of order {order}")
    length = low.apply("sqrt", _total(low, low.apply("mul", value, value)))
    return _as_result(low, call, length)


def _shifted(low: Lowering, value: Value, dims: Any) -> tuple[Value, Value]:
    """Return a row less its highest number, and that."""
    _whole_row(value, dims)
    highest = low.apply("detach", _total(low, value, "highest"))
    return low.apply("sub", value, highest), highest


@lowers(aten._softmax.default)
def _softmax(low: Lowering, call: Call, a: Any, dim: int, half_to_float: bool = False) -> Value:
    powers = low.apply("exp", _shifted(low, low.operand(a), dim)[0])
    return low.apply("div", powers, _total(low, powers))


@lowers(aten._log_softmax.default)
def _log_softmax(low: Lowering, call: Call, a: Any, dim: int, half_to_float: bool = False) -> Value:
    shifted, _ = _shifted(low, low.operand(a), dim)
    return low.apply("sub", shifted, low.apply("log", _total(low, low.apply("exp", shifted))))


@lowers(aten.logsumexp.default)
def _logsumexp(low: Lowering, call: Call, a: Any, dims: Any, keepdim: bool = False) -> Value:
    shifted, highest = _shifted(low, low.operand(a), dims)
    total = low.apply("log", _total(low, low.apply("exp", shifted)))
    return _as_result(low, call, low.apply("add", total, highest))


@lowers(aten._fused_rms_norm.default)
def _rms_norm(low: Lowering, call: Call, a: Any, shape: list[int], weight: Any, eps: Any) -> list[Value | None]:
    value = low.operand(a)
    if math.prod(shape) != math.prod(value.shape):
        raise CannotCompileError("a norm over anything but the whole row")
    squares = low.apply("mul", _total(low, low.apply("mul", value, value)), low.operand(1 / math.prod(shape)))
    floor = torch.finfo(low.dtype).eps if eps is None else eps
    result = low.apply("mul", value, low.apply("rsqrt", low.apply("add", squares, low.operand(floor))))
    return [result if weight is None else low.apply("mul", result, low.operand(weight, result)), None]


@lowers(aten.native_layer_norm.default)
def _layer_norm(
    low: Lowering, call: Call, a: Any, shape: list[int], weight: Any, bias: Any, eps: float
) -> list[Value | None]:
    value, builder = low.operand(a), low.builder
    if math.prod(shape) != math.prod(value.shape):
        raise CannotCompileError("a layer norm over anything but the whole row")
    count = low.operand(1 / math.prod(shape))
    mean = low.apply("mul", _total(low, value), count)
    centred = low.apply("sub", value, mean)
    squares = _total(low, low.apply("mul", centred, centred))
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
