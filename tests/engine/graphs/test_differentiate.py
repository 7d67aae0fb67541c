"""Backward graphs: what they read, what is kept for them, and their gradients, run by torch instead of natively."""

from __future__ import annotations

import pytest
import torch

from recurra.cells import CELLS, GRU, LSTM, MinGRU
from recurra.engine.compiled import make_plan
from recurra.engine.graphs.differentiate import differentiate
from recurra.engine.graphs.graph import Builder, Graph, Weight, cut
from recurra.engine.graphs.interpreter import interpret
from recurra.testing import TOLERANCES

ROWS = 2


def inside(cell):
    return make_plan(cell, torch.zeros(1, 1, cell.input_size), cell.zero_state(1)).split.inside


def kept_by(cell):
    derivative = differentiate(inside(cell))
    return [node.op for node in derivative.kept], sorted(derivative.histories)


def test_what_is_given_is_read_again_and_what_is_cheap_is_computed_again():
    assert kept_by(LSTM(3, 4)) == (["sigmoid", "sigmoid", "sigmoid", "tanh", "tanh"], [0, 1])
    assert kept_by(MinGRU(3, 4)) == (["sigmoid", "sigmoid"], [0])
    operations, histories = kept_by(GRU(3, 4))
    assert sorted(operations) == ["add", "sigmoid", "sigmoid", "tanh"]  # the product that the reset gate scales
    assert histories == [0]


@pytest.mark.parametrize("name", CELLS)
def test_nothing_is_kept_that_is_a_constant_or_a_choice_of_the_way_back(name):
    derivative = differentiate(inside(CELLS[name](4, 4)))
    assert not any(node.is_leaf for node in derivative.kept)
    assert all(source[0] in ("stream", "emit", "history", "kept", "gradient") for source in derivative.sources)
    assert len(derivative.sources) == len(derivative.graph.streams)


def test_products_with_one_matrix_go_back_as_one():
    derivative = differentiate(inside(LSTM(3, 4)))
    (product,) = [node for node in derivative.graph.nodes() if node.op == "product"]
    assert product.attributes[1]  # transposed
    assert sum(piece.channels for piece in product.inputs) == 16
    (weight,) = derivative.weights
    assert (weight.column, weight.columns) == (0, 16)


def test_a_stream_that_nobody_wants_the_gradient_of_has_none():
    graph = inside(LSTM(3, 4))
    assert differentiate(graph, constant_streams={0}).graph.emits[0] == ()


def test_parts_of_a_state_that_overlap_have_one_gradient():
    b = Builder()
    whole, left = b.node("carry", (), 4, (0, 0)), b.node("carry", (), 3, (0, 0))
    right = b.node("carry", (), 1, (0, 3))
    twice = b.pointwise("mul", whole, whole)
    graph = Graph(carries=[4], next_carry=[(twice,)], emits=[(b.pointwise("tanh", left), right)])
    derivative = differentiate(graph)
    state, gradient, emitted = (torch.randn(ROWS, 4, dtype=torch.float64) for _ in range(3))
    with torch.no_grad():
        outputs = torch.cat([state[:, :3].tanh(), state[:, 3:]], 1)
        arrays = {("history", 0): torch.cat([state, state * state]), ("emit", 0): outputs, ("gradient", 0): emitted}
        streams = [arrays[source] for source in derivative.sources]
        _, (found,) = interpret(derivative.graph, 1, ROWS, streams, [], [], [gradient], backward=True)
    expected = 2 * state * gradient + emitted * torch.cat([1 - outputs[:, :3] ** 2, torch.ones(ROWS, 1)], 1)
    torch.testing.assert_close(found, expected, **TOLERANCES[torch.float64])


def test_a_part_of_a_product_in_blocks_is_refused():
    b = Builder()
    product = b.node("product", (b.node("carry", (), 4, (0, 0)),), 4, (0, False, 0, (0,), 2))
    assert cut(b, product, 0, 4) is product
    with pytest.raises(ValueError, match="product in blocks"):
        cut(b, product, 0, 1)


def test_vectors_of_one_number_are_summed_by_channel():
    b = Builder()
    carry, scale = b.node("carry", (), 3, (0, 0)), b.node("channel", (), 1, (0, 0))
    graph = Graph(carries=[3], vectors=[1], weights=[Weight(3, 3)], next_carry=[(b.pointwise("mul", carry, scale),)])
    derivative = differentiate(graph)
    assert derivative.vectors == [(0, 0)]
    assert [node.channels for node in derivative.graph.sums] == [3]
