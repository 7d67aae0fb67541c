"""Graphs: equal nodes are one, trivial ones none, and equal texts are equal graphs."""

from __future__ import annotations

import math

from recurra.engine.graphs.graph import Builder, Graph, ancestors, cut


def test_equal_nodes_are_one():
    b = Builder()
    a, c = b.node("carry", (), 4, (0, 0)), b.node("carry", (), 4, (1, 0))
    assert b.pointwise("add", a, c) is b.pointwise("add", a, c)
    assert b.pointwise("add", a, c) is not b.pointwise("add", c, a)
    assert b.constant(0.0) is not b.constant(-0.0)
    assert b.constant(math.nan) is b.constant(math.nan)


def test_trivial_nodes_are_none():
    b = Builder()
    a = b.node("carry", (), 4, (0, 0))
    one, zero = b.constant(1.0), b.constant(0.0)
    for trivial in (("mul", a, one), ("mul", one, a), ("div", a, one), ("add", a, zero), ("sub", a, zero)):
        assert b.pointwise(*trivial) is a
    assert b.pointwise("neg", b.pointwise("neg", a)) is a
    assert b.pointwise("add", a, b.pointwise("neg", a)).op == "sub"
    assert b.pointwise("mul", a, zero).op == "mul"  # infinity times zero is no number


def test_a_text_is_the_graph_and_not_how_it_was_made():
    def graph(first):
        b = Builder()
        if first:
            b.node("carry", (), 9, (7, 0))
        a = b.node("carry", (), 4, (0, 0))
        return Graph(carries=[4], next_carry=[(b.pointwise("tanh", a),)])

    assert graph(True).text() == graph(False).text()


def test_ancestors_come_before_what_is_computed_from_them():
    b = Builder()
    a = b.node("carry", (), 4, (0, 0))
    deep = b.pointwise("exp", b.pointwise("neg", a))
    order = ancestors([deep])
    assert [node.op for node in order] == ["carry", "neg", "exp"]


def test_parts():
    b = Builder()
    a, number = b.node("carry", (), 4, (0, 2)), b.node("stream", (), 1, (0, 0))
    part = cut(b, b.pointwise("mul", b.pointwise("tanh", a), number), 1, 3)
    assert part.channels == 2
    assert part.inputs[0].inputs[0] is b.node("carry", (), 2, (0, 3))
    assert part.inputs[1] is number
