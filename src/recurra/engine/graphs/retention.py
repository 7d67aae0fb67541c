"""What the backward pass reads of the forward pass, and what is kept for it.

One rule: what is given (streams, parameters, the history of the state, emits) is read again; what follows from that by
cheap operations is computed again; the rest is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from recurra.engine.graphs.derivative import Derivative, Draft
from recurra.engine.graphs.graph import Array, Builder, Graph, Node, cut
from recurra.engine.graphs.operations import OPERATIONS

__all__ = ["write_derivative"]


def write_derivative(forward: Graph, draft: Draft, result: Derivative) -> None:
    """Write a draft as a graph of its own, which reads what is given, kept or computed again."""
    _Writing(forward, draft, result).run()


class _Writing:
    def __init__(self, forward: Graph, draft: Draft, result: Derivative) -> None:
        self.forward = forward
        self.draft = draft
        self.result = result
        self.graph = result.graph
        self.available = result.places
        self.builder = Builder()

    def run(self) -> None:
        draft, forward = self.draft, self.forward
        read = self._read(draft.roots())
        for number, pieces in enumerate(forward.emits):
            self._offer(pieces, "emit", number)
        for leaf, pieces in enumerate(forward.next_carry):
            self._offer(pieces, "next", leaf)
        keep = [n for n in read if not self._is_given(n) and not (n.is_pointwise and self._cheap(n))]
        keep += [n for n in draft.in_memory if not self._is_given(n)]
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
        for gradients in draft.carries:
            self.graph.next_carry.append(tuple(self._write(n, memo) for n in gradients))
        for gradients in draft.emits:
            self.graph.emits.append(tuple(self._write(n, memo) for n in gradients))
        self.graph.sums = [self._write(n, memo) for n in draft.sums]
        for node in draft.in_memory:
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
            if node.index < self.draft.first:
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
        if node.index < self.draft.first and (node.is_leaf or node in self.available):
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
