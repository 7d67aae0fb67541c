"""How each pointwise operation of the engine is written in ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from recurra.export.onnx.nodes import Nodes

__all__ = ["OPERATORS", "as_boolean"]

Writer = Callable[..., str]


def _named(operator: str) -> Writer:
    return lambda n, *inputs: n.add(operator, *inputs)


def _given(n: Nodes, a: str) -> str:
    return a


def _clamp(n: Nodes, a: str, low: float, high: float) -> str:
    bounds = [n.number(bound) if math.isfinite(bound) else "" for bound in (low, high)]
    return str(n.add("Clip", a, *bounds))


def _expm1(n: Nodes, a: str) -> str:
    """eˣ - 1 = tanh(x/2) (eˣ + 1), which loses nothing near zero."""
    half = n.add("Tanh", n.add("Mul", a, n.number(0.5)))
    return str(n.add("Mul", half, n.add("Add", n.add("Exp", a), n.number(1.0))))


def _log1p(n: Nodes, a: str) -> str:
    """log(1 + x) = x log(u) / (u - 1) for the rounded u = 1 + x, near zero.

    Source: Goldberg 1991, theorem 4.
    """
    u = n.add("Add", a, n.number(1.0))
    logarithm = n.add("Log", u)
    corrected = n.add("Div", n.add("Mul", a, logarithm), n.add("Sub", u, n.number(1.0)))
    near = n.add("Where", n.add("Equal", u, n.number(1.0)), a, corrected)
    return str(n.add("Where", n.add("Less", n.add("Abs", a), n.number(0.5)), near, logarithm))


def _where(n: Nodes, choice: str, a: str, b: str) -> str:
    return str(n.add("Where", as_boolean(n, choice), a, b))


def _logical(operator: str) -> Writer:
    return lambda n, *inputs: n.add(operator, *(as_boolean(n, i) for i in inputs))


def as_boolean(n: Nodes, a: str) -> str:
    """Turn numbers into true, where they are not 0, and false."""
    return str(n.add("Cast", a, to=n.helper.np_dtype_to_tensor_dtype(np.dtype(bool))))


OPERATORS: dict[str, Callable[..., Any]] = {
    "copy": _given,
    "detach": _given,
    "add": _named("Add"),
    "sub": _named("Sub"),
    "mul": _named("Mul"),
    "div": _named("Div"),
    "neg": _named("Neg"),
    "abs": _named("Abs"),
    "minimum": _named("Min"),
    "maximum": _named("Max"),
    "clamp": _clamp,
    "relu": _named("Relu"),
    "where": _where,
    "power": lambda n, a, power: n.add("Pow", a, n.number(power)),
    "sqrt": _named("Sqrt"),
    "rsqrt": lambda n, a: n.add("Reciprocal", n.add("Sqrt", a)),
    "exp": _named("Exp"),
    "expm1": _expm1,
    "log": _named("Log"),
    "log1p": _log1p,
    "sigmoid": _named("Sigmoid"),
    "tanh": _named("Tanh"),
    "erf": _named("Erf"),
    "lt": _named("Less"),
    "le": _named("LessOrEqual"),
    "gt": _named("Greater"),
    "ge": _named("GreaterOrEqual"),
    "eq": _named("Equal"),
    "ne": lambda n, a, b: n.add("Not", n.add("Equal", a, b)),
    "and": _logical("And"),
    "or": _logical("Or"),
    "not": _logical("Not"),
    "normalised": lambda n, a, mean, scale: n.add("Mul", n.add("Sub", a, mean), scale),
}
"""By the names of `recurra.engine.graphs.operations`: ``(nodes, *inputs, *attributes)`` -> the result."""
