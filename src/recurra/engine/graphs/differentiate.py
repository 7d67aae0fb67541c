"""The backward step: from the graph of a step to the graph of its derivative, run from the last step to the first.

The backward graph carries the gradient of the state. It reads what the forward pass left behind, and emits gradients of
all streams; sums for vectors of parameters; and, for each product, the gradient of its result: the gradient of the
matrix is one product over all steps after the loop.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import accumulate, pairwise
from typing import Any

from recurra.engine.graphs.derivative import Derivative, Draft, WeightGradient
from recurra.engine.graphs.graph import REDUCTIONS, Graph, Node
from recurra.engine.graphs.operations import OPERATIONS
from recurra.engine.graphs.retention import write_derivative

__all__ = ["Derivative", "WeightGradient", "differentiate"]


def differentiate(forward: Graph, constant_streams: Collection[int] = ()) -> Derivative:
    """Return the derivative of a step.

    Args:
        constant_streams: numbers of the streams whose gradient nobody wants; their emits are empty.
    """
    return _Differentiation(forward, constant_streams).run()


class _Differentiation:
    def __init__(self, forward: Graph, constant_streams: Collection[int]) -> None:
        self.forward = forward
        self.constant_streams = constant_streams
        self.nodes = forward.nodes()
        graph = Graph(vectors=forward.vectors, weights=forward.weights, carries=forward.carries)
        self.result = Derivative(graph)
        self.gradients: dict[Node, Node] = {}
        self.vector_parts: dict[Node, list[Node]] = {}
        self.products: list[tuple[Node, list[tuple[int, Node]]]] = []
        self.draft = Draft(self.nodes)

    def run(self) -> Derivative:
        self._seed()
        groups = self._groups()
        for node in reversed(self.nodes):
            self._propagate(node, groups)
        self._collect()
        write_derivative(self.forward, self.draft, self.result)
        return self.result

    def _seed(self) -> None:
        for kind, lists in (("state", self.forward.next_carry), ("gradient", self.forward.emits)):
            for number, pieces in enumerate(lists):
                column = 0
                for piece in pieces:
                    if piece.is_boolean or piece.op == "constant":
                        column += piece.channels
                        continue
                    leaf = self.draft.node("given", (), piece.channels, (kind, number, column))
                    self._add(piece, leaf)
                    column += piece.channels

    def _add(self, node: Node, gradient: Node | None) -> None:
        if gradient is None or node.op == "constant":
            return
        if node.channels == 1 and gradient.channels > 1:
            if node.op == "channel":
                self.vector_parts.setdefault(node, []).append(gradient)
                return
            gradient = self.draft.node("total", (gradient,), 1)
        gradient = self.draft.widen(gradient, node.channels)
        self.gradients[node] = self.draft.add(self.gradients.get(node), gradient)

    def _groups(self) -> dict[Node, list[Node]]:
        """For the first product of a matrix with an input, all products of the two; for a norm's scale, its pieces."""
        groups: dict[Node, list[Node]] = {}
        first: dict[Any, Node] = {}
        for node in self.nodes:
            if node.op == "product":
                key = (node.attributes[0], node.inputs, node.attributes[3])
                groups.setdefault(first.setdefault(key, node), []).append(node)
            elif node.op == "normalised":
                groups.setdefault(node.inputs[2], []).append(node)
        return groups

    def _propagate(self, node: Node, groups: dict[Node, list[Node]]) -> None:
        if node in groups:
            (self._product if node.op == "product" else self._norm)(groups[node])
            return
        gradient = self.gradients.get(node)
        if gradient is None or node.is_leaf or node.op in ("product", "normalised"):
            return
        if node.op in REDUCTIONS:
            (piece,) = node.inputs
            if node.op == "highest":
                gradient = self._shared(node, piece, gradient)
            self._add(piece, self.draft.widen(gradient, piece.channels))
            return
        derivative = OPERATIONS[node.op].derivative
        if derivative is not None:
            for piece, part in zip(node.inputs, derivative(self.draft, node, gradient), strict=True):
                if not piece.is_boolean:
                    self._add(piece, part)

    def _shared(self, node: Node, piece: Node, gradient: Node) -> Node:
        # channels that share the highest value share its gradient
        b = self.draft
        one, zero = b.constant(1.0), b.constant(0.0)
        highest = b.pointwise("where", b.pointwise("eq", piece, node), one, zero)
        return b.pointwise("mul", highest, b.pointwise("div", gradient, b.node("total", (highest,), 1)))

    def _norm(self, pieces: list[Node]) -> None:
        """x̂ = (a - mean) s  has  da = s (g - mean(g) - x̂ mean(g x̂))   (Ba, Kiros & Hinton 2016)."""
        b, given = self.draft, [p for p in pieces if p in self.gradients]
        if not given:
            return
        scale, count = pieces[0].inputs[2], b.constant(1 / pieces[0].attributes[0])
        mean: Node | None = None
        slope: Node | None = None
        for p in given:
            g = self.gradients[p]
            mean = b.add(mean, b.node("total", (g,), 1))
            slope = b.add(slope, b.node("total", (b.pointwise("mul", g, p),), 1))
        assert mean is not None
        assert slope is not None
        mean, slope = b.pointwise("mul", mean, count), b.pointwise("mul", slope, count)
        for p in pieces:
            g = self.gradients.get(p, b.constant(0.0))
            centred = b.pointwise("sub", b.pointwise("sub", g, mean), b.pointwise("mul", p, slope))
            self._add(p.inputs[0], b.pointwise("mul", centred, scale))

    def _product(self, products: list[Node]) -> None:
        given = sorted((p for p in products if p in self.gradients), key=lambda p: p.attributes[2])
        if not given:
            return
        weight, _, _, rows, blocks = products[0].attributes
        columns = tuple(p.attributes[2] for p in given)
        gradients = tuple(self.gradients[p] for p in given)
        for piece, row in zip(products[0].inputs, rows, strict=True):
            attributes = (weight, True, row, columns, blocks)
            self._add(piece, self.draft.node("product", gradients, piece.channels, attributes))
        self.products.append((products[0], list(zip(columns, given, strict=True))))

    def _collect(self) -> None:
        """List the roots of the draft: gradients of the state, of streams, of vectors, of products."""
        b, forward = self.draft, self.forward
        leaves: dict[tuple[str, int], list[Node]] = {}
        for node in self.nodes:
            if node.op in ("carry", "stream"):
                leaves.setdefault((node.op, node.attributes[0]), []).append(node)

        def cover(op: str, number: int, width: int) -> list[Node]:
            found = [(leaf.attributes[1], leaf) for leaf in leaves.get((op, number), [])]
            places = {0, width, *(at for at, _ in found), *(at + leaf.channels for at, leaf in found)}
            pieces = []
            for start, stop in pairwise(sorted(places)):
                total: Node | None = None
                for at, leaf in found:
                    gradient = self.gradients.get(leaf)
                    if gradient is not None and at <= start and stop <= at + leaf.channels:
                        total = b.add(total, b.part(gradient, start - at, stop - at))
                pieces.append(total or b.widen(b.constant(0.0), stop - start))
            return pieces

        self.draft.carries = [cover("carry", n, width) for n, width in enumerate(forward.carries)]
        self.draft.emits = [
            [] if n in self.constant_streams else cover("stream", n, array.width)
            for n, array in enumerate(forward.streams)
        ]
        for node in self.nodes:
            if node.op == "channel":
                parts = self.vector_parts.get(node, [])
                if node in self.gradients:
                    parts = [*parts, self.gradients[node]]
                self.draft.sums += parts
                self.result.vectors += [node.attributes] * len(parts)
        for product, columns in self.products:
            self._weight_gradient(product, columns)
            self.draft.in_memory += map(_ungated, product.inputs)

    def _weight_gradient(self, product: Node, columns: list[tuple[int, Node]]) -> None:
        gradients = [self.gradients[p] for _, p in columns]
        starts = list(accumulate((g.channels for g in gradients), initial=0))
        emit, start = len(self.draft.emits), 0
        for number, pieces in enumerate(self.draft.emits):  # often the gradient of a stream is all that is needed
            offsets = list(accumulate((p.channels for p in pieces), initial=0))
            for at in range(len(pieces) - len(gradients) + 1):
                if pieces[at : at + len(gradients)] == gradients:
                    emit, start = number, offsets[at]
        if emit == len(self.draft.emits):
            self.draft.emits.append(gradients)
        blocks = product.attributes[4]
        for (column, node), offset in zip(columns, starts, strict=False):
            last = self.result.weights[-1] if self.result.weights else None
            width = node.channels // blocks
            inputs, rows = tuple(map(_ungated, product.inputs)), product.attributes[3]
            if (
                last is not None
                and blocks == 1
                and (last.weight, last.inputs, last.rows, last.emit) == (product.attributes[0], inputs, rows, emit)
                and last.column + last.columns == column
                and last.start + last.columns == start + offset
            ):
                self.result.weights[-1] = last._replace(columns=last.columns + width)
            else:
                found = WeightGradient(product.attributes[0], inputs, rows, emit, start + offset, column, width)
                self.result.weights.append(found)


def _ungated(node: Node) -> Node:
    """Return a node of the same value that is no gate: it often lies in memory as it is."""
    while node.op == "gate":
        node = node.inputs[0]
    return node
