"""The backward step: from the graph of a step to the graph of its derivative, run from the last step to the first.

The backward graph carries the gradient of the state. It reads what the forward pass left behind, and emits gradients of
all streams; sums for vectors of parameters; and, for each product, the gradient of its result: the gradient of the
matrix is one product over all steps after the loop.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from recurra.engine.graph import REDUCTIONS, Array, Builder, Graph, Node, cut
from recurra.engine.operations import OPERATIONS

__all__ = ["Derivative", "WeightGradient", "differentiate"]


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


def differentiate(forward: Graph, constant_streams: Collection[int] = ()) -> Derivative:
    """Return the derivative of a step.

    Args:
        constant_streams: numbers of the streams whose gradient nobody wants; their emits are empty.

    What the backward pass reads of the forward is decided by one rule: what is given (streams, parameters, the history of
    the state) is read again; what follows from that by cheap operations is computed again; the rest is kept.
    """
    return _Differentiation(forward, constant_streams).run()


class _Differentiation:
    def __init__(self, forward: Graph, constant_streams: Collection[int]) -> None:
        self.forward = forward
        self.constant_streams = constant_streams
        self.nodes = forward.nodes()
        self.builder = Builder()
        self.graph = Graph(vectors=forward.vectors, weights=forward.weights, carries=forward.carries)
        self.result = Derivative(self.graph)
        self.gradients: dict[Node, Node] = {}
        self.vector_parts: dict[Node, list[Node]] = {}
        self.products: list[tuple[Node, list[tuple[int, Node]]]] = []
        # Derivatives are first written on the forward's own nodes (and new ones on them); then what they read is chosen.
        self.draft = _Draft(self.nodes)
        self.first = max((node.index for node in self.nodes), default=-1) + 1

    def run(self) -> Derivative:
        self._seed(self.draft)
        groups = self._groups()
        for node in reversed(self.nodes):
            self._propagate(node, groups)
        self._collect()
        self._rewrite()
        return self.result

    def _seed(self, draft: Builder) -> None:
        for kind, lists in (("state", self.forward.next_carry), ("gradient", self.forward.emits)):
            for number, pieces in enumerate(lists):
                column = 0
                for piece in pieces:
                    if piece.is_boolean or piece.op == "constant":
                        column += piece.channels
                        continue
                    leaf = draft.node("given", (), piece.channels, (kind, number, column))
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
        assert mean is not None and slope is not None
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
                        total = b.add(total, self._part(b, gradient, start - at, stop - at))
                pieces.append(total or b.widen(b.constant(0.0), stop - start))
            return pieces

        self.roots_carry = [cover("carry", n, width) for n, width in enumerate(forward.carries)]
        self.roots_emit = [
            [] if n in self.constant_streams else cover("stream", n, array.width)
            for n, array in enumerate(forward.streams)
        ]
        self.roots_sum: list[Node] = []
        for node in self.nodes:
            if node.op == "channel":
                parts = self.vector_parts.get(node, [])
                if node in self.gradients:
                    parts = [*parts, self.gradients[node]]
                self.roots_sum += parts
                self.result.vectors += [node.attributes] * len(parts)
        for product, columns in self.products:
            self._weight_gradient(product, columns)

    @staticmethod
    def _part(b: Builder, node: Node, start: int, stop: int) -> Node:
        """Return channels of a gradient; which nodes it is made of is known when it is written."""
        whole = (start, stop) == (0, node.channels)
        return node if whole else b.node("part", (node,), stop - start, (start,))

    def _weight_gradient(self, product: Node, columns: list[tuple[int, Node]]) -> None:
        gradients = [self.gradients[p] for _, p in columns]
        starts = list(accumulate((g.channels for g in gradients), initial=0))
        emit, start = len(self.roots_emit), 0
        for number, pieces in enumerate(self.roots_emit):  # often the gradient of a stream is all that is needed
            offsets = list(accumulate((p.channels for p in pieces), initial=0))
            for at in range(len(pieces) - len(gradients) + 1):
                if pieces[at : at + len(gradients)] == gradients:
                    emit, start = number, offsets[at]
        if emit == len(self.roots_emit):
            self.roots_emit.append(gradients)
        blocks = product.attributes[4]
        for (column, node), offset in zip(columns, starts, strict=False):
            last = self.result.weights[-1] if self.result.weights else None
            width = node.channels // blocks
            inputs, rows = product.inputs, product.attributes[3]
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

    # what of the forward pass the backward reads

    def _rewrite(self) -> None:
        """Write the draft as a graph of its own, reading what is given, kept or computed again."""
        roots = [*(n for pieces in (*self.roots_carry, *self.roots_emit) for n in pieces), *self.roots_sum]
        read = self._read(roots)
        in_memory = [node for product, _ in self.products for node in product.inputs]
        self.available = self.result.places
        forward = self.forward
        for number, pieces in enumerate(forward.emits):
            self._offer(pieces, "emit", number)
        for leaf, pieces in enumerate(forward.next_carry):
            self._offer(pieces, "next", leaf)
        keep = [n for n in read if not self._is_given(n) and not (n.is_pointwise and self._cheap(n))]
        keep += [n for n in in_memory if not self._is_given(n)]
        have = set(keep)
        for node in read:  # in an order of computing
            if not self._is_given(node) and node not in have and not self._follows(node, have):
                have.add(node)
        self.result.kept = sorted(have, key=lambda node: node.index)
        column = 0
        for node in self.result.kept:
            self.available[node] = ("kept", 0, column)
            column += node.channels
        memo: dict[Node, Node] = {}
        for pieces in self.roots_carry:
            self.graph.next_carry.append(tuple(self._write(n, memo) for n in pieces))
        for pieces in self.roots_emit:
            self.graph.emits.append(tuple(self._write(n, memo) for n in pieces))
        self.graph.sums = [self._write(n, memo) for n in self.roots_sum]
        for node in in_memory:
            if node.op == "carry":
                self._history(node.attributes[0])
            elif self.available.get(node, ("",))[0] == "next":
                self._history(self.available[node][1])

    def _offer(self, pieces: Sequence[Node], kind: str, number: int) -> None:
        column = 0
        for piece in pieces:
            if not piece.is_leaf and not piece.is_boolean:
                self.available[piece] = (kind, number, column)
            column += piece.channels

    def _read(self, roots: list[Node]) -> list[Node]:
        """Return nodes of the forward pass that the draft reads directly."""
        read, seen, stack = set(), set(), list(roots)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node.index < self.first:
                read.add(node)
            else:
                stack.extend(node.inputs)
        return sorted(read, key=lambda node: node.index)

    def _is_given(self, node: Node) -> bool:
        return node.is_leaf or node in self.available

    def _cheap(self, node: Node) -> bool:
        return node.op == "normalised" or OPERATIONS[node.op].is_cheap

    def _follows(self, node: Node, have: set[Node]) -> bool:
        """Can a node be computed by cheap operations from what there is?"""
        if self._is_given(node) or node in have:
            return True
        return node.is_pointwise and self._cheap(node) and all(self._follows(i, have) for i in node.inputs)

    def _write(self, node: Node, memo: dict[Node, Node]) -> Node:
        if node not in memo:
            memo[node] = self._written(node, memo)
        return memo[node]

    def _written(self, node: Node, memo: dict[Node, Node]) -> Node:
        b = self.builder
        if node.op == "part":
            (start,) = node.attributes
            return cut(b, self._write(node.inputs[0], memo), start, start + node.channels)
        if node.op == "given":
            kind, number, column = node.attributes
            if kind == "state":
                return b.node("carry", (), node.channels, (number, column))
            pieces = self.forward.emits[number]
            return self._stream(("gradient", number), Array(sum(p.channels for p in pieces)), node.channels, column)
        if node.index < self.first and (node.is_leaf or node in self.available):
            read = self._read_again(node)
            if read is not None:  # true and false are kept as 1 and 0
                return b.pointwise("ne", read, b.constant(0.0)) if node.is_boolean else read
        return b.node(node.op, [self._write(i, memo) for i in node.inputs], node.channels, node.attributes)

    def _read_again(self, node: Node) -> Node | None:
        """Return what the backward pass finds of a node in memory; None for a constant or a parameter."""
        if node in self.available:
            kind, number, column = self.available[node]
            if kind == "next":
                self._history(number)
                array = Array(self.forward.carries[number], shift=1)
                return self._stream(("history", number), array, node.channels, column)
            width = sum(p.channels for p in (self.forward.emits[number] if kind == "emit" else self.result.kept))
            return self._stream((kind, number), Array(width), node.channels, column)
        if node.op == "carry":
            number, column = node.attributes
            self._history(number)
            return self._stream(("history", number), Array(self.forward.carries[number]), node.channels, column)
        if node.op == "stream":
            number, column = node.attributes
            return self._stream(("stream", number), self.forward.streams[number], node.channels, column)
        return None

    def _history(self, leaf: int) -> None:
        if leaf not in self.result.histories:
            self.result.histories.append(leaf)

    def _stream(self, source: tuple[str, int], array: Array, channels: int, column: int) -> Node:
        known = list(zip(self.result.sources, self.graph.streams, strict=True))
        if (source, array) not in known:
            self.result.sources.append(source)
            self.graph.streams.append(array)
            known.append((source, array))
        return self.builder.node("stream", (), channels, (known.index((source, array)), column))


class _Draft(Builder):
    """A builder that goes on from the nodes of another."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        super().__init__()
        self._first = max((node.index for node in nodes), default=-1) + 1

    def node(self, op: str, inputs: Sequence[Node], channels: int, attributes: tuple[Any, ...] = ()) -> Node:
        """Return the node of this description, numbered after those that were there before."""
        key = (op, tuple(id(i) for i in inputs), channels, repr(attributes))
        if key not in self._known:
            self._known[key] = Node(self._first + len(self._known), op, tuple(inputs), channels, attributes)
        return self._known[key]
