"""What a derivative is: a backward graph, and how its arrays hang together with the forward's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from recurra.engine.graphs.graph import Builder, Graph, Node

__all__ = ["Derivative", "Draft", "WeightGradient"]


class WeightGradient(NamedTuple):
    """The gradient of columns of a matrix: for all steps, inputs (pieces) times the columns that the backward emits.

    Args:
        inputs: pieces of the product's input, and `rows`, the first row of the matrix that each meets.
        emit: number of the array that the backward graph emits, and its first column `start`.
        column, columns: first column of the matrix, and how many.
    """

    weight: int
    inputs: tuple[Node, ...]
    rows: tuple[int, ...]
    emit: int
    start: int
    column: int
    columns: int


@dataclass
class Derivative:
    """A backward graph and how its arrays hang together with the forward's.

    Args:
        graph: its first emits are the gradients of the forward's streams, in order.
        sources: what each stream of the backward graph is: ("stream", n), ("emit", n), ("history", leaf) or ("kept", 0)
            of the forward pass, or ("gradient", n), the gradient of the forward's nth emit.
        kept: nodes that the forward pass writes for the backward, side by side.
        histories: leaves of the state of which the forward pass keeps all steps.
        vectors: for each sum of the backward graph, the vector it is the gradient of, and the first channel.
        weights: gradients of matrices.
        places: where the forward pass leaves nodes: ("kept", "emit" or "next", number, first column).
    """

    graph: Graph
    sources: list[tuple[str, int]] = field(default_factory=list)
    kept: list[Node] = field(default_factory=list)
    histories: list[int] = field(default_factory=list)
    vectors: list[tuple[int, int]] = field(default_factory=list)
    weights: list[WeightGradient] = field(default_factory=list)
    places: dict[Node, tuple[str, int, int]] = field(default_factory=dict)


class Draft(Builder):
    """A backward step that is written on the forward's own nodes, and new ones on them.

    Two of its operations are of the draft alone: `given`, a gradient that comes from outside (of the "state" or of an
    emit, "gradient"; its number; the first column), and `part`, channels of a gradient from the first that it names.

    Args:
        first: index of the first node that is new.
        carries: pieces of the gradient of each leaf of the state.
        emits: pieces of each array to emit.
        sums: nodes to sum over rows and steps.
        in_memory: forward nodes of which all steps must lie in memory when the loop is done.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        super().__init__()
        self.first = max((node.index for node in nodes), default=-1) + 1
        self.carries: list[list[Node]] = []
        self.emits: list[list[Node]] = []
        self.sums: list[Node] = []
        self.in_memory: list[Node] = []

    def node(self, op: str, inputs: Sequence[Node], channels: int, attributes: tuple[Any, ...] = ()) -> Node:
        """Return the node of this description, numbered after those that were there before."""
        key = (op, tuple(id(i) for i in inputs), channels, repr(attributes))
        if key not in self._known:
            self._known[key] = Node(self.first + len(self._known), op, tuple(inputs), channels, attributes)
        return self._known[key]

    def part(self, node: Node, start: int, stop: int) -> Node:
        """Return channels of a gradient; which nodes it is made of is known when it is written."""
        whole = (start, stop) == (0, node.channels)
        return node if whole else self.node("part", (node,), stop - start, (start,))

    def roots(self) -> list[Node]:
        """Return all nodes that are wanted."""
        return [*(node for pieces in (*self.carries, *self.emits) for node in pieces), *self.sums]
