"""Ends, resets and gates of rows as part of the step: a graph that holds them from one that does not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recurra.engine.graphs.graph import Array, Builder, Graph, Node

__all__ = ["Masked", "mask"]


@dataclass(frozen=True)
class Masked:
    """A graph with masks.

    Args:
        reset, alive, gate: numbers of the streams (T, B, 1) that hold the masks, or None.
        fresh: numbers of the streams (B, width) that hold each leaf of a fresh state; empty without resets.
    """

    graph: Graph
    reset: int | None = None
    alive: int | None = None
    gate: int | None = None
    fresh: tuple[int, ...] = ()


def mask(graph: Graph, *, reset: bool, alive: bool, gate: bool = False, masks_output: bool) -> Masked:
    """Return a graph in which rows start afresh and end, and gradients of the state are scaled.

        s′ = reset ? fresh : gate(s)        s_next = alive ? f(s′) : s′        output = alive ? g(s′) : 0

    Args:
        masks_output: is the graph's first emit the output?
    """
    if not (reset or alive or gate):
        return Masked(graph)
    b = Builder()
    streams, number = list(graph.streams), {}
    for name, wanted in (("reset", reset), ("alive", alive), ("gate", gate)):
        if wanted:
            number[name] = len(streams)
            streams.append(Array(1))
    fresh = tuple(range(len(streams), len(streams) + len(graph.carries))) if reset else ()
    streams += [Array(width, per_step=False) for width in graph.carries] if reset else []

    def is_set(name: str) -> Node:
        return b.pointwise("ne", b.node("stream", (), 1, (number[name], 0)), b.constant(0.0))

    def before(leaf: int, column: int, channels: int) -> Node:
        carry = b.node("carry", (), channels, (leaf, column))
        if gate:
            carry = b.pointwise("gate", carry, b.node("stream", (), 1, (number["gate"], 0)))
        if not reset:
            return carry
        return b.pointwise("where", is_set("reset"), b.node("stream", (), channels, (fresh[leaf], column)), carry)

    copies: dict[Node, Node] = {}
    for node in graph.nodes():
        if node.op == "carry":
            leaf, column = node.attributes
            copies[node] = before(leaf, column, node.channels)
        else:
            copies[node] = b.node(node.op, [copies[i] for i in node.inputs], node.channels, node.attributes)
    next_carry = [tuple(copies[node] for node in pieces) for pieces in graph.next_carry]
    emits = [tuple(copies[node] for node in pieces) for pieces in graph.emits]
    if alive:
        running, masked = is_set("alive"), []
        for leaf, pieces in enumerate(next_carry):
            column, kept = 0, []
            for piece in pieces:
                kept.append(b.pointwise("where", running, piece, before(leaf, column, piece.channels)))
                column += piece.channels
            masked.append(tuple(kept))
        next_carry = masked
        if masks_output:
            emits[0] = tuple(b.pointwise("where", running, piece, b.constant(0.0)) for piece in emits[0])
    result = replace(graph, streams=streams, next_carry=next_carry, emits=emits)
    return Masked(result, number.get("reset"), number.get("alive"), number.get("gate"), fresh)
