"""A graph run by torch operations, step by step: slow, and differentiable as often as one likes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recurra.engine.graphs.graph import Graph, Node
from recurra.engine.graphs.operations import OPERATIONS

__all__ = ["interpret"]


def interpret(
    graph: Graph,
    steps: int,
    rows: int,
    streams: Sequence[Tensor],
    vectors: Sequence[Tensor],
    weights: Sequence[Tensor],
    states: Sequence[Tensor],
    *,
    backward: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Run a graph from the first step to the last, or from the last to the first.

    Args:
        streams: (T·B, width), or (B, width) where it is the same at all steps.
        vectors: (width,).
        weights: (rows, columns), or (blocks, rows, columns).
        states: (B, width) for each leaf.
    Returns: (emits (T, B, width), final state (B, width) of each leaf).
    """
    emits: list[list[Tensor]] = [[] for _ in graph.emits]
    nodes, carried = graph.nodes(), list(states)
    for t in reversed(range(steps)) if backward else range(steps):
        values: dict[Node, Tensor] = {}
        for node in nodes:
            values[node] = _value(node, values, graph, t, rows, streams, vectors, weights, carried)
        for written, pieces in zip(emits, graph.emits, strict=True):
            written.append(_join(pieces, values, rows))
        carried = [_join(pieces, values, rows) for pieces in graph.next_carry]
    return [torch.stack(written[::-1] if backward else written) for written in emits], carried


def _join(pieces: Sequence[Node], values: dict[Node, Tensor], rows: int) -> Tensor:
    return torch.cat([values[node].expand(rows, node.channels) for node in pieces], -1)


def _value(
    node: Node,
    values: dict[Node, Tensor],
    graph: Graph,
    t: int,
    rows: int,
    streams: Sequence[Tensor],
    vectors: Sequence[Tensor],
    weights: Sequence[Tensor],
    carried: Sequence[Tensor],
) -> Tensor:
    like: Tensor = carried[0] if carried else streams[0]
    if node.op == "constant":
        return like.new_tensor(node.attributes[0])
    if node.is_leaf:
        number, column = node.attributes
        found: Tensor
        if node.op == "channel":
            found = vectors[number]
        elif node.op == "carry":
            found = carried[number]
        else:
            array = graph.streams[number]
            start = (t + array.shift) * rows if array.per_step else 0
            found = streams[number][start : start + rows]
        return found[..., column : column + node.channels]
    if node.op == "product":
        return _product(node, values, weights, rows)
    inputs = [values[i] for i in node.inputs]
    if node.op == "total":
        return inputs[0].expand(rows, node.inputs[0].channels).sum(-1, keepdim=True)
    if node.op == "highest":
        return inputs[0].expand(rows, node.inputs[0].channels).amax(-1, keepdim=True)
    if node.op == "copy":
        return inputs[0].expand(*inputs[0].shape[:-1], node.channels) if inputs[0].ndim else inputs[0]
    attributes = () if node.op == "normalised" else node.attributes
    return OPERATIONS[node.op].compute(*_like(inputs, like), *attributes)  # type: ignore[no-any-return]


def _like(inputs: list[Tensor], like: Tensor) -> list[Tensor]:
    return [i if i.dtype == torch.bool else i.to(like.dtype) for i in inputs]


def _product(node: Node, values: dict[Node, Tensor], weights: Sequence[Tensor], rows: int) -> Tensor:
    number, transposed, first_column, first_rows, blocks = node.attributes
    matrix = weights[number].reshape(blocks, *weights[number].shape[-2:])
    matrix = matrix.transpose(1, 2) if transposed else matrix
    columns = slice(first_column, first_column + node.channels // blocks)
    result: Tensor | None = None
    for piece, row in zip(node.inputs, first_rows, strict=True):
        x = values[piece].expand(rows, piece.channels).reshape(rows, blocks, -1)
        part = torch.einsum("rbk,bkn->rbn", x, matrix[:, row : row + x.shape[-1], columns])
        result = part if result is None else result + part
    assert result is not None
    return result.reshape(rows, node.channels)
