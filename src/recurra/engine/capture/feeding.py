"""Streams that are products of the input: found in a split step, so that the loop is fed with them piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from recurra.engine.capture.lowering import Split
from recurra.engine.graphs.graph import Builder, Graph, Node

__all__ = ["Product", "add_biases", "find_feeds"]


class Product(NamedTuple):
    """A stream as ``x weight + bias``: numbers of the recording's tensors."""

    x: int
    weight: int
    bias: int | None


def find_feeds(parts: Split) -> dict[int, Product]:
    """Return the streams that are products of rows with a matrix of parameters, and that nothing else reads."""
    recording = parts.recording
    maker = {n: call for call in parts.before for n in call.outputs}
    read = {n for call in (*parts.before, *parts.after) for n in call.inputs}
    # what a product inside the loop reads is needed once more for the gradient of its matrix
    products = [node for node in parts.inside.nodes() if node.op == "product"]
    read_inside = {i.attributes[0] for product in products for i in product.inputs if i.op == "stream"}
    feeds = {}
    for stream, (number, _) in enumerate(parts.streams):
        call = maker.get(number)
        if call is None or number in read or stream in read_inside or call.kwargs:
            continue
        if call.function is torch.ops.aten.mm.default:
            x, weight = call.args
            feeds[stream] = Product(x.number, weight.number, None)
        elif call.function is torch.ops.aten.addmm.default:
            bias, x, weight = call.args
            if recording.shapes[bias.number] == recording.shapes[weight.number][1:]:
                feeds[stream] = Product(x.number, weight.number, bias.number)
    return feeds


def add_biases(graph: Graph, streams: Sequence[int]) -> Graph:
    """Return a graph that adds a vector of its own, new ones at the end, to each of these streams."""
    if not streams:
        return graph
    b = Builder()
    vectors = {stream: len(graph.vectors) + n for n, stream in enumerate(streams)}
    copies: dict[Node, Node] = {}
    for node in graph.nodes():
        copy = b.node(node.op, [copies[i] for i in node.inputs], node.channels, node.attributes)
        if node.op == "stream" and node.attributes[0] in vectors:
            number, column = node.attributes
            copy = b.pointwise("add", copy, b.node("channel", (), node.channels, (vectors[number], column)))
        copies[node] = copy
    return replace(
        graph,
        vectors=[*graph.vectors, *(graph.streams[stream].width for stream in streams)],
        next_carry=[tuple(copies[node] for node in pieces) for pieces in graph.next_carry],
        emits=[tuple(copies[node] for node in pieces) for pieces in graph.emits],
    )
