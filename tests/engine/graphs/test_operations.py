"""The table of pointwise operations: each is complete, and its derivative is the one that torch takes."""

from __future__ import annotations

import pytest
import torch

from recurra.engine.graphs.differentiate import differentiate
from recurra.engine.graphs.graph import BOOLEAN, Builder, Graph
from recurra.engine.graphs.interpreter import interpret
from recurra.engine.graphs.operations import OPERATIONS
from recurra.engine.llvm.pointwise import INSTRUCTIONS
from recurra.testing import TOLERANCES

ATTRIBUTES = {"power": (2.5,), "clamp": (0.5, 1.5)}
POSITIVE = {"power", "sqrt", "rsqrt", "log", "log1p"}
SMOOTH = [
    name
    for name, operation in OPERATIONS.items()
    if operation.derivative is not None and name not in ("where", "detach")
]
ROWS, WIDTH = 3, 4


def test_what_has_a_meaning_has_instructions():
    assert OPERATIONS.keys() == INSTRUCTIONS.keys()


def test_what_has_no_derivative_is_true_or_false():
    assert {name for name, operation in OPERATIONS.items() if operation.derivative is None} - BOOLEAN == {"normalised"}


@pytest.mark.parametrize("name", SMOOTH)
def test_a_derivative_is_torchs(name):
    """The graph of the derivative of one operation, run by torch, beside autograd through the operation itself."""
    torch.manual_seed(0)
    compute, binary = OPERATIONS[name].compute, name in {"add", "sub", "mul", "div", "minimum", "maximum", "gate"}
    b, attributes = Builder(), ATTRIBUTES.get(name, ())
    graph = Graph(carries=[WIDTH, WIDTH])
    a, c = (b.node("carry", (), WIDTH, (leaf, 0)) for leaf in range(2))
    y = b.node(name, (a, c) if binary else (a,), WIDTH, attributes)
    graph.next_carry = [(y,), (c,)]
    derivative = differentiate(graph)
    states = [torch.rand(ROWS, WIDTH, dtype=torch.float64) + (0.1 if name in POSITIVE else -0.5) for _ in range(2)]
    gradients = [torch.randn(ROWS, WIDTH, dtype=torch.float64) for _ in range(2)]

    leaves = [state.clone().requires_grad_() for state in states]
    result = compute(*leaves, *attributes) if binary else compute(leaves[0], *attributes)
    expected = torch.autograd.grad([result, leaves[1] * 1], leaves, gradients, allow_unused=True)

    kept = {"kept": [], "history": states}
    with torch.no_grad():
        after = [compute(*states, *attributes) if binary else compute(states[0], *attributes), states[1]]
        kept["history"] = [torch.cat(pair) for pair in zip(states, after, strict=True)]  # before the step, after it
        if derivative.kept:
            assert derivative.kept == [y]
            kept["kept"] = [after[0]]
    streams = [kept[kind][number] for kind, number in derivative.sources]
    _, found = interpret(derivative.graph, 1, ROWS, streams, [], [], gradients, backward=True)
    torch.testing.assert_close(found, list(expected), **TOLERANCES[torch.float64])
