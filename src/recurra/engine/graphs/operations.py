"""The pointwise operations: what each computes, and its derivative.

To add one: a row in the table here (torch's function for it and its derivative), its instructions in
`recurra.engine.llvm.pointwise`, its name among the operations of torch that `recurra.engine.capture.aten` reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from recurra.engine.gate import gated
from recurra.engine.graphs.graph import Builder, Node

__all__ = ["OPERATIONS", "Operation"]

Derivative = Callable[[Builder, Node, Node], Sequence["Node | None"]]


class Operation(NamedTuple):
    """A pointwise operation.

    Args:
        compute: the same on tensors, ``compute(*tensors, *attributes)``.
        derivative: ``derivative(builder, y, g)``: for y = op(*y.inputs) and the gradient g of y, the gradient of each
            input, or None where there is none.
        is_cheap: is computing it again cheaper than reading it from memory?
    """

    compute: Callable[..., Any]
    derivative: Derivative | None = None
    is_cheap: bool = True


def _pow(b: Builder, y: Node, g: Node) -> list[Node]:
    (a,), (n,) = y.inputs, y.attributes
    slope = b.pointwise("power", a, attributes=(n - 1.0,)) if n != 2.0 else a
    return [_times(b, g, b.constant(n), slope)]


def _div(b: Builder, y: Node, g: Node) -> list[Node]:
    first = b.pointwise("div", g, y.inputs[1])
    return [first, b.pointwise("neg", b.pointwise("mul", first, y))]


def _extreme(op: str) -> Derivative:
    def derivative(b: Builder, y: Node, g: Node) -> list[Node]:
        a, c = y.inputs  # where both are equal, each takes half; where one is NaN, each takes all
        zero, half = b.constant(0.0), b.pointwise("mul", g, b.constant(0.5))
        shared = b.pointwise("where", b.pointwise("eq", a, c), half, g)
        loses = [b.pointwise(op, c, a), b.pointwise(op, a, c)]
        return [b.pointwise("where", lost, zero, shared) for lost in loses]

    return derivative


def _clamp(b: Builder, y: Node, g: Node) -> list[Node]:
    (a,), (low, high) = y.inputs, y.attributes
    for op, bound in (("ge", low), ("le", high)):
        if math.isfinite(bound):
            g = b.pointwise("where", b.pointwise(op, a, b.constant(bound)), g, b.constant(0.0))
    return [g]


def _abs(b: Builder, y: Node, g: Node) -> list[Node]:
    (a,), zero = y.inputs, b.constant(0.0)
    negative = b.pointwise("where", b.pointwise("lt", a, zero), b.pointwise("neg", g), zero)
    return [b.pointwise("where", b.pointwise("gt", a, zero), g, negative)]


def _erf(b: Builder, y: Node, g: Node) -> list[Node]:
    (a,) = y.inputs
    bell = b.pointwise("exp", b.pointwise("neg", b.pointwise("mul", a, a)))
    return [_times(b, g, b.constant(2 / math.sqrt(math.pi)), bell)]


def _where(b: Builder, y: Node, g: Node) -> list[Node | None]:
    choice, zero = y.inputs[0], b.constant(0.0)
    return [None, b.pointwise("where", choice, g, zero), b.pointwise("where", choice, zero, g)]


def _relu(b: Builder, y: Node, g: Node) -> list[Node]:
    # Where it is cut off the gradient is zero; NaN is not cut off.
    return [b.pointwise("where", b.pointwise("le", y, b.constant(0.0)), b.constant(0.0), g)]


def _times(b: Builder, first: Node, *others: Node) -> Node:
    for other in others:
        first = b.pointwise("mul", first, other)
    return first


def _less_square(b: Builder, y: Node) -> Node:
    return b.pointwise("sub", b.constant(1.0), b.pointwise("mul", y, y))


def _gate(b: Builder, y: Node, g: Node) -> list[Node | None]:
    factor, zero = y.inputs[1], b.constant(0.0)
    return [b.pointwise("where", b.pointwise("eq", factor, zero), zero, b.pointwise("mul", g, factor)), None]


def _sigmoid(b: Builder, y: Node, g: Node) -> list[Node]:
    return [_times(b, g, b.pointwise("sub", b.constant(1.0), y), y)]


OPERATIONS: dict[str, Operation] = {
    "copy": Operation(lambda a: a, lambda b, y, g: [g]),
    "detach": Operation(lambda a: a, lambda b, y, g: [None]),
    # the first, whose gradient is multiplied by the second
    "gate": Operation(gated, _gate),
    "add": Operation(torch.add, lambda b, y, g: [g, g]),
    "sub": Operation(torch.sub, lambda b, y, g: [g, b.pointwise("neg", g)]),
    "mul": Operation(torch.mul, lambda b, y, g: [_times(b, g, y.inputs[1]), _times(b, g, y.inputs[0])]),
    "div": Operation(torch.div, _div),
    "neg": Operation(torch.neg, lambda b, y, g: [b.pointwise("neg", g)]),
    "abs": Operation(torch.abs, _abs),
    "minimum": Operation(torch.minimum, _extreme("lt")),
    "maximum": Operation(torch.maximum, _extreme("gt")),
    "clamp": Operation(torch.clamp, _clamp),
    "relu": Operation(torch.relu, _relu),
    "where": Operation(lambda c, a, b: torch.where(c.bool(), a, b), _where),
    "power": Operation(torch.pow, _pow, is_cheap=False),
    "sqrt": Operation(
        torch.sqrt, lambda b, y, g: [b.pointwise("div", g, _times(b, b.constant(2.0), y))], is_cheap=False
    ),
    "rsqrt": Operation(torch.rsqrt, lambda b, y, g: [_times(b, g, b.constant(-0.5), y, y, y)], is_cheap=False),
    "exp": Operation(torch.exp, lambda b, y, g: [_times(b, g, y)], is_cheap=False),
    "expm1": Operation(
        torch.expm1, lambda b, y, g: [_times(b, g, b.pointwise("add", y, b.constant(1.0)))], is_cheap=False
    ),
    "log": Operation(torch.log, lambda b, y, g: [b.pointwise("div", g, y.inputs[0])], is_cheap=False),
    "log1p": Operation(
        torch.log1p,
        lambda b, y, g: [b.pointwise("div", g, b.pointwise("add", y.inputs[0], b.constant(1.0)))],
        is_cheap=False,
    ),
    "sigmoid": Operation(torch.sigmoid, _sigmoid, is_cheap=False),
    "tanh": Operation(torch.tanh, lambda b, y, g: [_times(b, g, _less_square(b, y))], is_cheap=False),
    "erf": Operation(torch.erf, _erf, is_cheap=False),
    "lt": Operation(torch.lt),
    "le": Operation(torch.le),
    "gt": Operation(torch.gt),
    "ge": Operation(torch.ge),
    "eq": Operation(torch.eq),
    "ne": Operation(torch.ne),
    "and": Operation(torch.logical_and),
    "or": Operation(torch.logical_or),
    "not": Operation(torch.logical_not),
    # Rows less their mean, times their inverse standard deviation; its derivative is that of the whole group of pieces
    # (`recurra.engine.graphs.differentiate`).
    "normalised": Operation(lambda a, mean, scale, *_: (a - mean) * scale),
}
