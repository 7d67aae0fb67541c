"""Graphs run by torch: products of every kind, streams that shift, and both directions of time."""

from __future__ import annotations

import torch

from recurra.engine.graphs.graph import Array, Builder, Graph, Weight
from recurra.engine.graphs.interpreter import interpret
from recurra.testing import TOLERANCES

ROWS = 3


def close(found, expected):
    torch.testing.assert_close(found, expected, **TOLERANCES[torch.float64])


def product(state, weight, *, transposed=False, column=0, rows=(0,), blocks=1, channels, cuts=None):
    b, widths = Builder(), cuts or [state.shape[1]]
    starts = [sum(widths[:n]) for n in range(len(widths))]
    pieces = [b.node("carry", (), width, (0, start)) for width, start in zip(widths, starts, strict=True)]
    node = b.node("product", pieces, channels, (0, transposed, column, tuple(rows), blocks))
    graph = Graph(carries=[state.shape[1]], weights=[Weight(*weight.shape[-2:], blocks)], emits=[(node,)])
    graph.next_carry = [tuple(pieces)]
    (emit,), _ = interpret(graph, 1, ROWS, [], [], [weight], [state])
    return emit[0]


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_products():
    state, weight = normal(ROWS, 4), normal(4, 5)
    close(product(state, weight, channels=5), state @ weight)
    close(product(state, weight, column=2, channels=3), state @ weight[:, 2:])
    close(product(state, weight, rows=(2, 0), cuts=[2, 2], channels=5), state @ torch.cat([weight[2:], weight[:2]]))


def test_products_with_the_transpose():
    state, weight = normal(ROWS, 4), normal(6, 4)
    close(product(state, weight, transposed=True, channels=6), state @ weight.t())
    close(product(state, weight, transposed=True, column=1, channels=2), state @ weight[1:3].t())


def test_products_in_blocks():
    state, weight = normal(ROWS, 4), normal(2, 2, 3)
    expected = torch.einsum("rbk,bkn->rbn", state.unflatten(1, (2, 2)), weight)
    close(product(state, weight, blocks=2, channels=6), expected.flatten(1))
    close(product(state, weight, blocks=2, column=1, channels=4), expected[..., 1:].flatten(1))


def test_streams_shift_and_time_runs_both_ways():
    b = Builder()
    later, same = b.node("stream", (), 1, (0, 0)), b.node("stream", (), 1, (1, 0))
    before = b.node("carry", (), 1, (0, 0))
    total = b.pointwise("add", before, later)
    graph = Graph([Array(1, shift=1), Array(1, per_step=False)], carries=[1], next_carry=[(total,)])
    graph.emits = [(total,), (b.pointwise("mul", before, same),)]
    streams = [torch.tensor([[0.0], [1], [2], [3]]), torch.tensor([[10.0]])]
    for backward, sums, befores in ((False, [1, 3, 6], [0, 10, 30]), (True, [6, 5, 3], [50, 30, 0])):
        emits, (final,) = interpret(graph, 3, 1, streams, [], [], [torch.zeros(1, 1)], backward=backward)
        assert [emit.flatten().tolist() for emit in emits] == [sums, befores]
        assert final.item() == 6


def test_reductions_and_one_number_for_all_channels():
    b = Builder()
    carry = b.node("carry", (), 3, (0, 0))
    total, highest = b.node("total", (carry,), 1), b.node("highest", (carry,), 1)
    graph = Graph(carries=[3], next_carry=[(carry,)], emits=[(total, highest, b.widen(total, 2), b.constant(7.0))])
    (emit,), _ = interpret(graph, 1, 1, [], [], [], [torch.tensor([[1.0, 4.0, 2.0]])])
    assert emit.flatten().tolist() == [7, 4, 7, 7, 7]
