"""Masks in the graph: rows that start afresh and rows that end."""

from __future__ import annotations

import torch

from recurra.engine.graphs.graph import Builder, Graph
from recurra.engine.graphs.interpreter import interpret
from recurra.engine.graphs.masking import mask

STEPS, ROWS = 3, 2


def counting():
    """A step that counts in its state, and emits the count."""
    b = Builder()
    count = b.pointwise("add", b.node("carry", (), 1, (0, 0)), b.constant(1.0))
    return Graph(carries=[1], next_carry=[(count,)], emits=[(count,)])


def run(masked, *streams):
    emits, finals = interpret(masked.graph, STEPS, ROWS, streams, [], [], [torch.zeros(ROWS, 1)])
    return emits[0].squeeze(-1).t().tolist(), finals[0].flatten().tolist()


ALIVE = torch.tensor([[1.0, 1], [1, 0], [1, 0]]).reshape(-1, 1)
RESET = torch.tensor([[0.0, 0], [0, 0], [1, 0]]).reshape(-1, 1)
FRESH = torch.full((ROWS, 1), 10.0)


def test_nothing_is_added_where_nothing_is_asked():
    graph = counting()
    assert mask(graph, reset=False, alive=False, masks_output=True).graph is graph


def test_ends():
    masked = mask(counting(), reset=False, alive=True, masks_output=True)
    assert (masked.reset, masked.alive, masked.fresh) == (None, 0, ())
    assert run(masked, ALIVE) == ([[1, 2, 3], [1, 0, 0]], [3, 1])


def test_an_emit_that_is_not_the_output_is_left_alone():
    masked = mask(counting(), reset=False, alive=True, masks_output=False)
    assert run(masked, ALIVE) == ([[1, 2, 3], [1, 2, 2]], [3, 1])


def test_resets():
    masked = mask(counting(), reset=True, alive=False, masks_output=True)
    assert (masked.reset, masked.fresh) == (0, (1,))
    assert run(masked, RESET, FRESH) == ([[1, 2, 11], [1, 2, 3]], [11, 3])


def test_both():
    masked = mask(counting(), reset=True, alive=True, masks_output=True)
    assert run(masked, RESET, ALIVE, FRESH) == ([[1, 2, 11], [1, 0, 0]], [11, 1])
