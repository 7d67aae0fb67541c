"""The language of the engine: one step of a recurrence as a graph of operations on the channels of a row.

A node is a vector of `channels` numbers per row and step (1: one number, shared by all channels of what it meets).
There are no shapes, views or copies here: a tensor of the step is a sequence of nodes side by side, its *pieces*.

Leaves are `constant`, `channel` (a vector of parameters, the same for all rows and steps), `stream` (an array of
(T, B, width) that is given) and `carry` (the state before the step). `product` multiplies pieces by a matrix, `total`
and `highest` reduce a row, and all else is pointwise (`recurra.engine.graphs.operations`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["REDUCTIONS", "Array", "Builder", "CannotCompileError", "Graph", "Node", "Weight", "ancestors", "cut"]

LEAVES = frozenset({"constant", "channel", "stream", "carry"})
REDUCTIONS = frozenset({"total", "highest"})
BOOLEAN = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})


class CannotCompileError(Exception):
    """The step holds something that the engine does not compile; the message says what and where."""


@dataclass(frozen=True, eq=False)
class Node:
    """An operation on nodes; equal nodes of one `Builder` are one object.

    Args:
        index: place in the order of making, which is an order of computing.
        attributes: `constant` (value,); `channel` and `stream` (number of the array, first column); `carry` (number of
            the leaf, first column); `product` (number of the weight, transposed, first column of the output, first
            row of each input, blocks); others as their operation says.
    """

    index: int
    op: str
    inputs: tuple[Node, ...]
    channels: int
    attributes: tuple[Any, ...] = ()

    @property
    def is_leaf(self) -> bool:
        """Is it given, rather than computed?"""
        return self.op in LEAVES

    @property
    def is_boolean(self) -> bool:
        """Is it true or false?"""
        return self.op in BOOLEAN

    @property
    def is_pointwise(self) -> bool:
        """Is channel j computed from channels j alone?"""
        return not (self.is_leaf or self.op == "product" or self.op in REDUCTIONS)

    def __repr__(self) -> str:
        inputs = ", ".join(f"%{i.index}" for i in self.inputs)
        return f"%{self.index} = {self.op}[{self.channels}]({inputs}){list(self.attributes) or ''}"


@dataclass(frozen=True)
class Array:
    """An array that streams: (T, B, width), or (B, width) if it is the same at all steps.

    Args:
        shift: read at step t + shift: histories of states have one entry more than there are steps.
    """

    width: int
    shift: int = 0
    per_step: bool = True


@dataclass(frozen=True)
class Weight:
    """A matrix of (rows, columns) for products x (B, rows) -> (B, columns); one per block if there are several."""

    rows: int
    columns: int
    blocks: int = 1


@dataclass
class Graph:
    """One step: what it reads, the next state, and what it leaves behind.

    Args:
        streams: arrays that `stream` nodes read.
        vectors: widths of what `channel` nodes read.
        weights: matrices that products read.
        carries: width of each leaf of the state.
        next_carry: pieces of each leaf after the step.
        emits: pieces of each array (T, B, width) that the step writes.
        sums: nodes that are summed over all rows and steps.
    """

    streams: list[Array] = field(default_factory=list)
    vectors: list[int] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    carries: list[int] = field(default_factory=list)
    next_carry: list[tuple[Node, ...]] = field(default_factory=list)
    emits: list[tuple[Node, ...]] = field(default_factory=list)
    sums: list[Node] = field(default_factory=list)

    def roots(self) -> list[Node]:
        """Return all nodes that are wanted."""
        return [node for pieces in (*self.next_carry, *self.emits, self.sums) for node in pieces]

    def nodes(self) -> list[Node]:
        """Return all nodes that something wanted depends on, in an order of computing."""
        return ancestors(self.roots())

    def text(self) -> str:
        """Return the graph as text: equal texts are equal graphs."""
        number = {node: n for n, node in enumerate(self.nodes())}
        name = {node: f"%{n}" for node, n in number.items()}
        lines = [f"streams {self.streams}", f"vectors {self.vectors}", f"weights {self.weights}"]
        lines += [f"carries {self.carries}"]
        for node, n in number.items():
            inputs = ", ".join(name[i] for i in node.inputs)
            lines.append(f"%{n} = {node.op}[{node.channels}]({inputs}) {node.attributes}")
        for title, groups in (("next", self.next_carry), ("emit", self.emits), ("sum", [self.sums])):
            lines += [f"{title} {' '.join(name[node] for node in pieces)}" for pieces in groups]
        return "\n".join(lines)


def ancestors(roots: Iterable[Node]) -> list[Node]:
    """Return the roots and all that they depend on, in an order of computing."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.inputs)
    return sorted(seen, key=lambda node: node.index)


def cut(builder: Builder, node: Node, start: int, stop: int) -> Node:
    """Return channels start to stop of a node.

    Raises: ValueError for a product in blocks, which has no such parts.
    """
    if node.channels == 1 or (start, stop) == (0, node.channels):
        return node
    if node.is_pointwise:
        inputs = [cut(builder, piece, start, stop) for piece in node.inputs]
        return builder.node(node.op, inputs, stop - start, node.attributes)
    if node.is_leaf:
        number, column = node.attributes
        return builder.node(node.op, (), stop - start, (number, column + start))
    weight, transposed, column, rows, blocks = node.attributes
    if blocks != 1:
        raise ValueError("a product in blocks")
    return builder.node("product", node.inputs, stop - start, (weight, transposed, column + start, rows, blocks))


class Builder:
    """Makes nodes: equal ones once, trivial ones never."""

    def __init__(self) -> None:
        self._known: dict[Any, Node] = {}

    def node(self, op: str, inputs: Sequence[Node], channels: int, attributes: tuple[Any, ...] = ()) -> Node:
        """Return the node of this description."""
        key = (op, tuple(i.index for i in inputs), channels, attributes)
        # 0.0 and -0.0 are equal keys and different constants
        if op == "constant":
            key = (op, (), channels, (repr(attributes[0]),))
        if key not in self._known:
            self._known[key] = Node(len(self._known), op, tuple(inputs), channels, attributes)
        return self._known[key]

    def constant(self, value: float) -> Node:
        """Return a number."""
        return self.node("constant", (), 1, (float(value),))

    def pointwise(self, op: str, *inputs: Node, attributes: tuple[Any, ...] = ()) -> Node:
        """Return a pointwise operation on nodes of equal channels, or of one."""
        simpler = self._simplify(op, inputs)
        if simpler is not None:
            return simpler
        return self.node(op, inputs, max(i.channels for i in inputs), attributes)

    def widen(self, node: Node, channels: int) -> Node:
        """Return a node of so many channels; one number is repeated."""
        return node if node.channels == channels else self.node("copy", (node,), channels)

    def add(self, a: Node | None, b: Node) -> Node:
        """Return a + b, where None is nothing yet."""
        return b if a is None else self.pointwise("add", a, b)

    def _simplify(self, op: str, inputs: tuple[Node, ...]) -> Node | None:
        # Only what is exact for every number, NaN and infinity included.
        if op == "mul":
            for one, other in (inputs, inputs[::-1]):
                if _is(one, 1.0):
                    return other
                if _is(one, -1.0):
                    return self.pointwise("neg", other)
        if op == "div" and _is(inputs[1], 1.0):
            return inputs[0]
        if op in ("add", "sub") and _is(inputs[1], 0.0):
            return inputs[0]
        if op == "add" and _is(inputs[0], 0.0):
            return inputs[1]
        if op == "neg" and inputs[0].op == "neg":
            return inputs[0].inputs[0]
        if op == "add" and inputs[1].op == "neg":
            return self.pointwise("sub", inputs[0], inputs[1].inputs[0])
        if op == "sub" and inputs[1].op == "neg":
            return self.pointwise("add", inputs[0], inputs[1].inputs[0])
        return None


def _is(node: Node, value: float) -> bool:
    return node.op == "constant" and bool(node.attributes[0] == value) and not math.isnan(value)
