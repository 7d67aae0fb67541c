"""Loops as text and back: what an exported program holds of a cell, so that it runs where the cell is unknown.

What is read may come from anywhere, and native code trusts its graph: every place that a graph reads is checked.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple

from recurra.engine.graphs.graph import LEAVES, REDUCTIONS, Array, Graph, Node, Weight
from recurra.engine.graphs.masking import Masked
from recurra.engine.graphs.operations import OPERATIONS
from recurra.engine.native.loops import DTYPES, Loop
from recurra.errors import EngineError

__all__ = ["Text", "graph_from_text", "graph_to_text", "read_loop", "write_loop"]

FORMAT = 1  # a change that makes old texts mean something else must raise it

_DTYPES = {name: dtype for dtype, name in DTYPES.items()}


class Text(NamedTuple):
    """A loop that was read.

    Args:
        fed: numbers of the streams that are products with parameters.
    """

    loop: Loop
    fed: tuple[int, ...]


@lru_cache(512)
def write_loop(loop: Loop, fed: tuple[int, ...]) -> str:
    """Return all that there is to know about a loop."""
    masked = loop.masked
    content = {
        "format": FORMAT,
        "dtype": DTYPES[loop.dtype],
        "reset": masked.reset,
        "alive": masked.alive,
        "gate": masked.gate,
        "fresh": masked.fresh,
        "fresh_has_gradient": not set(masked.fresh) <= loop.constant,
        "fed": fed,
        "graph": _describe(masked.graph),
    }
    return json.dumps(content, separators=(",", ":"))


@lru_cache(512)  # a loop keeps its native functions
def read_loop(text: str) -> Text:
    """Return the loop of a text.

    Raises: EngineError if the text is not a loop.
    """
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise EngineError(f"a scan was exported in format {content['format']}, and this version reads {FORMAT}")
        graph = _graph(content["graph"])
        count = len(graph.streams)
        masks = [content.get(name) for name in ("reset", "alive", "gate")]
        fed = tuple(_index(n, count) for n in content["fed"])
        fresh = tuple(_index(n, count) for n in content["fresh"])
        _check(len(set(fed)) == len(fed) and all(graph.streams[n].per_step for n in fed))
        reset, alive, gate = (None if n is None else _index(n, count) for n in masks)
        masked = Masked(graph, reset, alive, gate, fresh)
        return Text(Loop(masked, _DTYPES[content["dtype"]], bool(content["fresh_has_gradient"])), fed)
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise EngineError(f"the text of a scan is damaged: {type(error).__name__}: {error}") from error


def graph_to_text(graph: Graph) -> str:
    """Return a graph as JSON."""
    return json.dumps(_describe(graph))


def graph_from_text(text: str) -> Graph:
    """Return the graph of `graph_to_text`.

    Raises: ValueError, or another error of a wrong structure, if it is none.
    """
    return _graph(json.loads(text))


def _describe(graph: Graph) -> dict[str, Any]:
    number = {node: n for n, node in enumerate(graph.nodes())}
    return {
        "streams": [[array.width, array.shift, array.per_step] for array in graph.streams],
        "vectors": graph.vectors,
        "weights": [[weight.rows, weight.columns, weight.blocks] for weight in graph.weights],
        "carries": graph.carries,
        "nodes": [[node.op, [number[i] for i in node.inputs], node.channels, node.attributes] for node in number],
        "next_carry": [[number[node] for node in pieces] for pieces in graph.next_carry],
        "emits": [[number[node] for node in pieces] for pieces in graph.emits],
        "sums": [number[node] for node in graph.sums],
    }


def _graph(content: dict[str, Any]) -> Graph:
    graph = Graph(
        [Array(_size(width), shift, bool(per_step)) for width, shift, per_step in content["streams"]],
        [_size(width) for width in content["vectors"]],
        [Weight(_size(rows), _size(columns), _size(blocks)) for rows, columns, blocks in content["weights"]],
        [_size(width) for width in content["carries"]],
    )
    nodes: list[Node] = []
    for op, inputs, channels, attributes in content["nodes"]:
        found = tuple(nodes[_index(i, len(nodes))] for i in inputs)
        nodes.append(Node(len(nodes), op, found, _size(channels), _tuple(attributes)))
        _check_node(nodes[-1], graph)
    pick = [[tuple(nodes[_index(i, len(nodes))] for i in pieces) for pieces in content[n]] for n in _RESULTS]
    graph.next_carry, graph.emits = pick
    graph.sums = [nodes[_index(i, len(nodes))] for i in content["sums"]]
    _check([sum(node.channels for node in pieces) for pieces in graph.next_carry] == graph.carries)
    _check(all(graph.emits) and not graph.sums and all(array.shift == 0 for array in graph.streams))
    return graph


_RESULTS = ("next_carry", "emits")


def _check_node(node: Node, graph: Graph) -> None:
    """Check that a node of a forward graph reads only what is there."""
    if node.op == "constant":
        _check(not node.inputs and node.channels == 1 and type(node.attributes[0]) is float)
    elif node.op in LEAVES:
        number, column = node.attributes
        widths = {"channel": graph.vectors, "carry": graph.carries, "stream": [a.width for a in graph.streams]}[node.op]
        _check(not node.inputs and _index(column) + node.channels <= widths[_index(number)])
    elif node.op == "product":
        number, transposed, column, rows, blocks = node.attributes
        weight = graph.weights[_index(number)]
        _check(transposed is False and blocks == weight.blocks and node.channels % blocks == 0)
        _check(_index(column) + node.channels // blocks <= weight.columns)
        _check(0 < len(rows) == len(node.inputs))
        for piece, row in zip(node.inputs, rows, strict=True):
            _check(piece.channels % blocks == 0 and _index(row) + piece.channels // blocks <= weight.rows)
    elif node.op in REDUCTIONS:
        _check(len(node.inputs) == 1 and node.channels == 1)
    else:
        _check(node.op in OPERATIONS and bool(node.inputs))
        _check(all(piece.channels in (1, node.channels) for piece in node.inputs))


def _index(value: Any, count: int | None = None) -> int:
    _check(type(value) is int and value >= 0 and (count is None or value < count))
    return int(value)


def _size(value: Any) -> int:
    _check(type(value) is int and 0 < value < 2**40)
    return int(value)


def _tuple(value: Any) -> Any:
    return tuple(_tuple(item) for item in value) if isinstance(value, list) else value


def _check(is_true: bool) -> None:
    if not is_true:
        raise ValueError("its graph reads what is not there")
