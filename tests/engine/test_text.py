"""Loops as text: written and read again they are the same, and what is no loop is refused."""

import json
import math

import pytest
import torch

from recurra.cells.box import CELLS
from recurra.engine.compiled import make_plan
from recurra.engine.graphs.graph import Array, Builder, Graph, Weight
from recurra.engine.text import graph_from_text, graph_to_text, read_loop, write_loop
from recurra.errors import EngineError


def plan_of(name):
    cell = CELLS[name](4, 4)
    return make_plan(cell, torch.zeros(2, 3, 4), cell.zero_state(3))


@pytest.mark.parametrize("name", sorted(CELLS))
@pytest.mark.parametrize("masks", [(False, False), (True, True)], ids=["plain", "masked"])
def test_a_loop_that_is_read_is_the_one_that_was_written(name, masks):
    plan = plan_of(name)
    loop = plan.loop(reset=masks[0], alive=masks[1], fresh_has_gradient=False)
    text = write_loop(loop, tuple(plan.feeds))
    read = read_loop(text)
    assert read.loop.graph.text() == loop.graph.text()
    assert (read.loop.dtype, read.loop.constant, read.fed) == (loop.dtype, loop.constant, tuple(plan.feeds))
    assert read.loop.derivative.graph.text() == loop.derivative.graph.text()
    assert write_loop(read.loop, read.fed) == text


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -0.0, 0.1, 1e-310, 1.7976931348623157e308, 3.0])
def test_constants_are_exact(value):
    b = Builder()
    node = b.widen(b.constant(value), 2)
    graph = graph_from_text(graph_to_text(Graph(carries=[2], next_carry=[(node,)])))
    (found,) = graph.next_carry[0][0].inputs
    assert type(found.attributes[0]) is float
    assert repr(found.attributes[0]) == repr(value)


def test_a_node_that_is_used_twice_is_one_node():
    b = Builder()
    x = b.pointwise("tanh", b.node("stream", (), 3, (0, 0)))
    graph = Graph(streams=[Array(3)], carries=[3], next_carry=[(x,)], emits=[(x,)])
    read = graph_from_text(graph_to_text(graph))
    assert read.emits[0][0] is read.next_carry[0][0]


def small():
    b = Builder()
    h = b.node("carry", (), 3, (0, 0))
    u = b.node("product", (h,), 3, (0, False, 0, (0,), 1))
    h = b.pointwise("tanh", b.pointwise("add", u, b.node("stream", (), 3, (0, 1))))
    return Graph(streams=[Array(4)], weights=[Weight(3, 3)], carries=[3], next_carry=[(h,)], emits=[(h,)])


def damaged(change):
    content = json.loads(graph_to_text(small()))
    change(content)
    return json.dumps(content)


DAMAGE = {
    "a column beyond the stream": lambda g: g["streams"].__setitem__(0, [3, 0, True]),
    "a column before the stream": lambda g: g["nodes"][2][3].__setitem__(1, -1),
    "a stream that is not there": lambda g: g["nodes"][2][3].__setitem__(0, 7),
    "a step after the last": lambda g: g["streams"].__setitem__(0, [4, 1, True]),
    "a narrower state": lambda g: g["carries"].__setitem__(0, 2),
    "a wider state": lambda g: g["carries"].__setitem__(0, 9),
    "fewer rows of the matrix": lambda g: g["weights"].__setitem__(0, [2, 3, 1]),
    "fewer columns of the matrix": lambda g: g["weights"].__setitem__(0, [3, 2, 1]),
    "blocks that are not there": lambda g: g["nodes"][1][3].__setitem__(4, 3),
    "a transposed product": lambda g: g["nodes"][1][3].__setitem__(1, True),
    "an operation that is none": lambda g: g["nodes"][3].__setitem__(0, "system"),
    "a node from the future": lambda g: g["nodes"][1].__setitem__(1, [4]),
    "no width": lambda g: g["nodes"][3].__setitem__(2, 0),
    "a width that is no number": lambda g: g["nodes"][3].__setitem__(2, "3"),
    "channels that do not match": lambda g: g["nodes"][3].__setitem__(2, 5),
    "an emit of nothing": lambda g: g["emits"].__setitem__(0, []),
}


def test_the_undamaged_graph_is_read():
    assert graph_from_text(damaged(lambda content: None)).text() == small().text()


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_graph_that_reads_what_is_not_there_is_refused(change):
    with pytest.raises((ValueError, IndexError, KeyError, TypeError)):
        graph_from_text(damaged(change))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format":1}', '{"format":1,"graph":{}}', "[" * 9999])
def test_a_text_that_is_no_loop_is_refused(text):
    with pytest.raises(EngineError, match="damaged"):
        read_loop(text)


def test_a_text_of_another_format_is_refused_by_name():
    with pytest.raises(EngineError, match="format 99"):
        read_loop('{"format":99}')
