"""Pointwise operations of torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from recurra.engine.capture.aten.table import lowers, pointwise
from recurra.engine.capture.recording import Call
from recurra.engine.capture.values import Value, as_boolean
from recurra.engine.graphs.graph import CannotCompileError

if TYPE_CHECKING:
    from recurra.engine.capture.lowering import Lowering

__all__: list[str] = []

aten = torch.ops.aten

for _name in ["neg", "abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sigmoid", "tanh", "relu", "erf"]:
    pointwise(_name, getattr(aten, _name).default)
for _name in ["lt", "le", "gt", "ge", "eq", "ne"]:
    pointwise(_name, getattr(aten, _name).Tensor, getattr(aten, _name).Scalar)
pointwise("mul", aten.mul.Tensor, aten.mul.Scalar)
pointwise("div", aten.div.Tensor, aten.div.Scalar)
pointwise("minimum", aten.minimum.default, aten.min.other)
pointwise("maximum", aten.maximum.default, aten.max.other)
pointwise("where", aten.where.self, aten.where.ScalarSelf, aten.where.ScalarOther, aten.where.Scalar)
pointwise("detach", aten.detach.default)


@lowers(aten.add.Tensor, aten.add.Scalar)
def _add(low: Lowering, call: Call, a: Any, b: Any, alpha: float = 1) -> Value:
    a, b = low.operands(a, b)
    return low.apply("add", a, b if alpha == 1 else low.apply("mul", b, low.operand(alpha)))


@lowers(aten.sub.Tensor, aten.sub.Scalar)
def _sub(low: Lowering, call: Call, a: Any, b: Any, alpha: float = 1) -> Value:
    a, b = low.operands(a, b)
    return low.apply("sub", a, b if alpha == 1 else low.apply("mul", b, low.operand(alpha)))


@lowers(aten.rsub.Scalar, aten.rsub.Tensor)
def _rsub(low: Lowering, call: Call, a: Any, b: Any, alpha: float = 1) -> Value:
    return _sub(low, call, b, a, alpha)


@lowers(aten.reciprocal.default)
def _reciprocal(low: Lowering, call: Call, a: Any) -> Value:
    return low.pointwise("div", 1.0, a)


@lowers(aten.pow.Tensor_Scalar)
def _power(low: Lowering, call: Call, a: Any, exponent: float) -> Value:
    return low.pointwise("power", a, attributes=(float(exponent),))


@lowers(aten.pow.Scalar)
def _power_of(low: Lowering, call: Call, base: float, exponent: Any) -> Value:
    if base <= 0:
        raise CannotCompileError(f"a power of {base}")
    return low.apply("exp", low.apply("mul", low.operand(exponent), low.operand(math.log(base))))


@lowers(aten.exp2.default)
def _exp2(low: Lowering, call: Call, a: Any) -> Value:
    return _power_of(low, call, 2.0, a)


@lowers(aten.log2.default, aten.log10.default)
def _log_to_base(low: Lowering, call: Call, a: Any) -> Value:
    base = 2.0 if call.function is aten.log2.default else 10.0
    return low.apply("mul", low.apply("log", low.operand(a)), low.operand(1 / math.log(base)))


@lowers(aten.sign.default, aten.sgn.default)
def _sign(low: Lowering, call: Call, a: Any) -> Value:
    x, zero, one = low.operand(a), low.operand(0.0), low.operand(1.0)
    negative = low.apply("where", low.apply("lt", x, zero), low.operand(-1.0), zero)
    return low.apply("where", low.apply("gt", x, zero), one, negative)


@lowers(aten.erfc.default)
def _erfc(low: Lowering, call: Call, a: Any) -> Value:
    return low.apply("sub", low.operand(1.0), low.apply("erf", low.operand(a)))


@lowers(aten.isnan.default)
def _isnan(low: Lowering, call: Call, a: Any) -> Value:
    return low.pointwise("ne", a, a)


@lowers(aten.isinf.default, aten.isfinite.default)
def _isinf(low: Lowering, call: Call, a: Any) -> Value:
    op = "eq" if call.function is aten.isinf.default else "lt"
    return low.apply(op, low.apply("abs", low.operand(a)), low.operand(math.inf))


@lowers(aten.clamp.default)
def _clamp(low: Lowering, call: Call, a: Any, least: Any = None, most: Any = None, **more: Any) -> Value:
    least, most = more.get("min", least), more.get("max", most)
    limits = (-math.inf if least is None else float(least), math.inf if most is None else float(most))
    return low.pointwise("clamp", a, attributes=limits)


@lowers(aten.clamp.Tensor)
def _clamp_to(low: Lowering, call: Call, a: Any, least: Any = None, most: Any = None, **more: Any) -> Value:
    least, most = more.get("min", least), more.get("max", most)
    x, lower, upper = low.operands(a, -math.inf if least is None else least, math.inf if most is None else most)
    inside = low.apply("and", low.apply("ge", x, lower), low.apply("le", x, upper))
    # where it is cut off, the bound is what has a gradient; where the bounds cross, the upper one counts
    bound = low.apply("where", low.apply("lt", x, lower), low.apply("minimum", lower, upper), upper)
    bound = low.apply("where", low.apply("ne", x, x), x, bound)
    return low.apply("where", inside, x, bound)


@lowers(aten.hardtanh.default)
def _hardtanh(low: Lowering, call: Call, a: Any, least: float = -1, most: float = 1) -> Value:
    # unlike clamp, it has no gradient at its bounds
    x, lower, upper = low.operand(a), low.operand(least), low.operand(most)
    cut = low.apply("where", low.apply("ge", x, upper), upper, x)
    return low.apply("where", low.apply("le", x, lower), lower, cut)


@lowers(aten.clamp_min.default)
def _clamp_min(low: Lowering, call: Call, a: Any, least: float) -> Value:
    return low.pointwise("clamp", a, attributes=(float(least), math.inf))


@lowers(aten.clamp_max.default)
def _clamp_max(low: Lowering, call: Call, a: Any, most: float) -> Value:
    return low.pointwise("clamp", a, attributes=(-math.inf, float(most)))


@lowers(aten.leaky_relu.default)
def _leaky_relu(low: Lowering, call: Call, a: Any, slope: float = 0.01) -> Value:
    x, zero = low.operand(a), low.operand(0.0)
    return low.apply("where", low.apply("gt", x, zero), x, low.apply("mul", x, low.operand(slope)))


@lowers(aten.elu.default)
def _elu(low: Lowering, call: Call, a: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    x, zero = low.operand(a), low.operand(0.0)
    # expm1 of what is below zero alone: its derivative above would be infinite, and infinity times zero is no number
    bent = low.apply(
        "expm1", low.apply("mul", low.apply("clamp", x, attributes=(-math.inf, 0.0)), low.operand(input_scale))
    )
    below = low.apply("mul", bent, low.operand(alpha * scale))
    return low.apply("where", low.apply("gt", x, zero), low.apply("mul", x, low.operand(scale)), below)


@lowers(aten.silu.default)
def _silu(low: Lowering, call: Call, a: Any) -> Value:
    x = low.operand(a)
    return low.apply("mul", x, low.apply("sigmoid", x))


@lowers(aten.gelu.default)
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


@lowers(aten.softplus.default)
def _softplus(low: Lowering, call: Call, a: Any, beta: float = 1, threshold: float = 20) -> Value:
    x = low.operand(a)
    scaled = low.apply("mul", x, low.operand(beta))
    soft = low.apply("div", _log1p_exp(low, scaled), low.operand(beta))
    return low.apply("where", low.apply("gt", scaled, low.operand(threshold)), x, soft)


@lowers(aten.log_sigmoid_forward.default)
def _log_sigmoid(low: Lowering, call: Call, a: Any) -> list[Value | None]:
    return [low.apply("neg", _log1p_exp(low, low.apply("neg", low.operand(a)))), None]


def _log1p_exp(low: Lowering, x: Value) -> Value:
    """log(1 + eˣ) without overflow: max(x, 0) + log1p(e^-|x|)."""
    tail = low.apply("log1p", low.apply("exp", low.apply("neg", low.apply("abs", x))))
    return low.apply("add", low.apply("maximum", x, low.operand(0.0)), tail)


@lowers(aten.lerp.Tensor, aten.lerp.Scalar)
def _lerp(low: Lowering, call: Call, a: Any, b: Any, weight: Any) -> Value:
    start, end, share = low.operands(a, b, weight)
    return low.apply("add", start, low.apply("mul", share, low.apply("sub", end, start)))


@lowers(aten.logical_and.default, aten.bitwise_and.Tensor)
def _and(low: Lowering, call: Call, a: Any, b: Any) -> Value:
    return _logical(low, call, "and", a, b)


@lowers(aten.logical_or.default, aten.bitwise_or.Tensor)
def _or(low: Lowering, call: Call, a: Any, b: Any) -> Value:
    return _logical(low, call, "or", a, b)


@lowers(aten.logical_xor.default, aten.bitwise_xor.Tensor)
def _xor(low: Lowering, call: Call, a: Any, b: Any) -> Value:
    return low.apply("ne", _logical(low, call, "or", a, a), _logical(low, call, "or", b, b))


@lowers(aten.logical_not.default, aten.bitwise_not.default)
def _not(low: Lowering, call: Call, a: Any) -> Value:
    return _logical(low, call, "not", a)


def _logical(low: Lowering, call: Call, op: str, *args: Any) -> Value:
    if low.dtype_of(call) != torch.bool:
        raise CannotCompileError("bits of whole numbers")
    return low.apply(op, *(as_boolean(low.builder, value) for value in low.operands(*args)))


@lowers(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def _masked_fill(low: Lowering, call: Call, a: Any, mask: Any, value: Any) -> Value:
    return low.pointwise("where", mask, value, a)
