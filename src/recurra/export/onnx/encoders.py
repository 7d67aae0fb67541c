"""Classifiers and taggers: what stands before the recurrent layers, and after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from recurra.errors import ConfigError
from recurra.export.onnx.layers import Ends, leaves_of, write_ends, write_sequence
from recurra.export.onnx.nodes import Nodes
from recurra.layers.frontends import NumbersFrontend, PictureFrontend, SoundFrontend, TokenFrontend
from recurra.layers.pooling import Pooling
from recurra.models.encoder import Encoder

__all__ = ["write_encoder", "write_linear", "write_pooling"]


def write_encoder(n: Nodes, encoder: Encoder, values: str, lengths: str) -> tuple[str, Ends]:
    """Write what reads: values (T, B, ...) of rows with lengths (B,) -> outputs (T, B, O), and where rows end."""
    frontend = encoder.frontend
    if isinstance(frontend, PictureFrontend):
        raise ConfigError("models of pictures are not written as ONNX graphs; export one of texts, numbers or sounds")
    ends = write_ends(n, lengths, values)
    if isinstance(frontend, TokenFrontend):
        x = n.add("Gather", n.number(frontend.embedding.weight.detach().numpy()), values)
    elif isinstance(frontend, NumbersFrontend):
        x = _normalised(n, frontend, values, ends)
        if isinstance(frontend, SoundFrontend) and frontend.stride > 1:
            x, ends = _side_by_side(n, frontend, x, ends)
    else:
        raise ConfigError(f"{type(frontend).__name__} is not written as an ONNX graph")
    if encoder.layers is None:
        return n.add("Where", ends.alive, x, n.number(0.0)), ends
    rows = n.add("Shape", ends.lengths)
    state = []
    for leaf in leaves_of(encoder.layers).values():
        shape = n.add("Concat", rows, n.integers(*leaf.shape[1:]), axis=0)
        state.append(n.add("Expand", n.number(leaf.numpy()), shape))
    x, _ = write_sequence(n, encoder.layers, x, state, frontend.output_size, ends)
    return x, ends


def write_linear(n: Nodes, x: str, weight: Tensor, bias: Tensor | None) -> str:
    """Write x (..., I) times the transpose of a weight (O, I), and a bias (O,)."""
    product = n.add("MatMul", x, n.number(weight.detach().t().numpy()))
    return str(product if bias is None else n.add("Add", product, n.number(bias.detach().numpy())))


def write_pooling(n: Nodes, pooling: Pooling, outputs: str, ends: Ends) -> str:
    """Write how steps (T, B, O) become one row each (B, P)."""
    rows = [POOLINGS[type(part).__name__](n, part, outputs, ends) for part in pooling.parts]
    return rows[0] if len(rows) == 1 else str(n.add("Concat", *rows, axis=-1))


def _normalised(n: Nodes, frontend: NumbersFrontend, values: str, ends: Ends) -> str:
    def kept(x: str) -> str:
        return str(n.add("Where", ends.alive, x, n.number(0.0)))

    x = n.add("Sub", values, n.number(frontend.mean.numpy()))
    x = kept(n.add("Div", x, n.number(frontend.std.numpy())))
    return kept(n.add("Sub", x, _mean(n, x, ends))) if frontend.centre else x


def _side_by_side(n: Nodes, frontend: SoundFrontend, x: str, ends: Ends) -> tuple[str, Ends]:
    """Put `stride` frames (T, B, F) side by side: (⌈T / stride⌉, B, stride · F), the last filled with zeros."""
    stride, size = frontend.stride, frontend.mean.numel()
    by = n.integers(stride)

    def up(count: str) -> str:
        return str(n.add("Div", n.add("Add", count, n.integers(stride - 1)), by))

    steps = n.add("Shape", x, start=0, end=1)
    short = n.add("Sub", n.add("Mul", up(steps), by), steps)
    pads = n.add("Concat", n.integers(0, 0, 0), short, n.integers(0, 0), axis=0)
    x = n.add("Pad", x, pads)
    rows = n.add("Shape", ends.lengths)
    x = n.add("Reshape", x, n.add("Concat", up(steps), by, rows, n.integers(size), axis=0))
    x = n.add("Transpose", x, perm=[0, 2, 1, 3])
    x = n.add("Reshape", x, n.integers(0, 0, stride * size))
    return x, write_ends(n, up(ends.lengths), x)


def _last(n: Nodes, part: Any, outputs: str, ends: Ends) -> str:
    """Forwards the row's last step, backwards its first."""
    place = n.add("Unsqueeze", n.add("Sub", ends.lengths, n.integers(1)), n.integers(1))
    by_row = n.add("Transpose", outputs, perm=[1, 0, 2])
    last = n.add("GatherND", by_row, place, batch_dims=1)
    forwards = _features(n, last, 0, part.forwards)
    if part.forwards == part.output_size:
        return forwards
    first = n.add("Gather", outputs, n.number(0, np.int64))
    return str(n.add("Concat", forwards, _features(n, first, part.forwards, part.output_size), axis=-1))


def _mean(n: Nodes, x: str, ends: Ends) -> str:
    """Return the mean over a row's steps, where x is zero past its end."""
    count = n.add("Unsqueeze", n.add("CastLike", ends.lengths, x), n.integers(1))
    return str(n.add("Div", n.add("ReduceSum", x, n.integers(0), keepdims=0), count))


def _mean_pooling(n: Nodes, part: Any, outputs: str, ends: Ends) -> str:
    return _mean(n, n.add("Where", ends.alive, outputs, n.number(0.0)), ends)


def _max_pooling(n: Nodes, part: Any, outputs: str, ends: Ends) -> str:
    kept = n.add("Where", ends.alive, outputs, n.number(-np.inf))
    return str(n.add("ReduceMax", kept, n.integers(0), keepdims=0))


def _attention(n: Nodes, part: Any, outputs: str, ends: Ends) -> str:
    key, query = part.key, part.query
    scores = write_linear(n, n.add("Tanh", write_linear(n, outputs, key.weight, key.bias)), query.weight, None)
    weights = n.add("Softmax", n.add("Where", ends.alive, scores, n.number(-np.inf)), axis=0)
    kept = n.add("Where", ends.alive, outputs, n.number(0.0))
    return str(n.add("ReduceSum", n.add("Mul", weights, kept), n.integers(0), keepdims=0))


def _features(n: Nodes, x: str, start: int, stop: int) -> str:
    return str(n.add("Slice", x, n.integers(start), n.integers(stop), n.integers(-1)))


POOLINGS: dict[str, Callable[[Nodes, Any, str, Ends], str]] = {
    "_Last": _last,
    "_Mean": _mean_pooling,
    "_Max": _max_pooling,
    "_Attention": _attention,
}
