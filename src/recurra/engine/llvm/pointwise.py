"""Instructions of the pointwise operations, on vectors of lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from recurra.engine.graphs.graph import Node
from recurra.engine.llvm.maths import Maths

__all__ = ["INSTRUCTIONS"]

Emit = Callable[..., Any]


def _unary(name: str) -> Emit:
    return lambda maths, b, node, a: getattr(maths, name)(b, a)


def _compare(sign: str) -> Emit:
    # "unordered" for ≠: NaN differs from everything
    name = "fcmp_unordered" if sign == "!=" else "fcmp_ordered"
    return lambda maths, b, node, x, y: getattr(b, name)(sign, x, y)


def _clamp(maths: Maths, b: ir.IRBuilder, node: Node, a: Any) -> Any:
    low, high = (maths.splat(bound) for bound in node.attributes)
    a = b.select(b.fcmp_ordered("<", a, low), low, a)
    return b.select(b.fcmp_ordered(">", a, high), high, a)


def _relu(maths: Maths, b: ir.IRBuilder, node: Node, a: Any) -> Any:
    zero = maths.splat(0.0)
    return b.select(b.fcmp_ordered("<=", a, zero), zero, a)


INSTRUCTIONS: dict[str, Emit] = {
    "copy": lambda maths, b, node, a: a,
    "detach": lambda maths, b, node, a: a,
    "gate": lambda maths, b, node, a, factor: a,
    "add": lambda maths, b, node, x, y: b.fadd(x, y),
    "sub": lambda maths, b, node, x, y: b.fsub(x, y),
    "mul": lambda maths, b, node, x, y: b.fmul(x, y),
    "div": lambda maths, b, node, x, y: b.fdiv(x, y),
    "neg": lambda maths, b, node, a: b.fneg(a),
    "abs": _unary("abs"),
    "minimum": lambda maths, b, node, x, y: maths.minimum(b, x, y),
    "maximum": lambda maths, b, node, x, y: maths.maximum(b, x, y),
    "clamp": _clamp,
    "relu": _relu,
    "where": lambda maths, b, node, choice, x, y: b.select(choice, x, y),
    "power": lambda maths, b, node, a: maths.power(b, a, node.attributes[0]),
    **{name: _unary(name) for name in ("sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "sigmoid", "tanh", "erf")},
    "lt": _compare("<"),
    "le": _compare("<="),
    "gt": _compare(">"),
    "ge": _compare(">="),
    "eq": _compare("=="),
    "ne": _compare("!="),
    "and": lambda maths, b, node, x, y: b.and_(x, y),
    "or": lambda maths, b, node, x, y: b.or_(x, y),
    "not": lambda maths, b, node, a: b.not_(a),
    "normalised": lambda maths, b, node, a, mean, scale: b.fmul(b.fsub(a, mean), scale),
}
