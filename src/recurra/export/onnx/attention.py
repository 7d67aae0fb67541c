"""A step of `WindowAttention`: the engine does not record it, as it multiplies what changes by what changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from recurra.export.onnx.nodes import Nodes
from recurra.layers import WindowAttention

__all__ = ["AttentionStep"]


class AttentionStep:
    """What `recurra.export.onnx.step.Step` is for other cells.

    Args:
        cell: the attention; its equations are in its class.
    """

    def __init__(self, cell: WindowAttention) -> None:
        self.cell = cell
        self.output_size = cell.output_size

    def write(self, n: Nodes, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Write the step: h and x side by side, and leaves (B, width) -> output (B, H), the leaves after it."""
        H, E, N = self.cell.size, self.cell.values, self.cell.window
        h, x = n.add("Split", x, n.integers(H, E), outputs=2, axis=1)
        past_h, past_x = (
            n.add("Reshape", leaf, n.integers(-1, N, size)) for leaf, size in zip(state[:2], (H, E), strict=True)
        )
        followed = _shifted(n, past_x, N, n.add("Unsqueeze", x, n.integers(1)))
        query = n.add("Unsqueeze", n.add("MatMul", h, _turned(n, self.cell.W)), n.integers(2))
        scores = n.add("Squeeze", n.add("MatMul", past_h, query), n.integers(2))
        scores = n.add("Mul", scores, n.number(H**-0.5))
        visible = n.add("Greater", state[2], n.number(0.5))
        scores = n.add("Where", visible, scores, n.number(-np.inf))
        column = n.add("Concat", n.add("Shape", x, end=1), n.integers(1), axis=0)
        nowhere = n.add("Expand", n.number(self.cell.b.detach().numpy()), column)
        weights = n.add("Softmax", n.add("Concat", nowhere, scores, axis=1), axis=1)
        weights = n.add("Unsqueeze", _later(n, weights, N + 1), n.integers(1))
        context = n.add("Squeeze", n.add("MatMul", weights, followed), n.integers(1))
        output = n.add("Add", h, n.add("MatMul", context, _turned(n, self.cell.V)))
        after_h = _shifted(n, past_h, N, n.add("Unsqueeze", h, n.integers(1)))
        flat = [n.add("Reshape", leaf, n.integers(0, -1)) for leaf in (after_h, followed)]
        return output, [*flat, _shifted(n, state[2], N, n.add("Expand", n.number(1.0), column))]


def _later(n: Nodes, places: str, count: int) -> str:
    """Return all of so many places (B, count, …) but the first."""
    return str(n.add("Slice", places, n.integers(1), n.integers(count), n.integers(1)))


def _shifted(n: Nodes, places: str, count: int, latest: str) -> str:
    """Return places (B, count, …) without the oldest, and with the latest (B, 1, …)."""
    return str(n.add("Concat", _later(n, places, count), latest, axis=1))


def _turned(n: Nodes, matrix: Tensor) -> str:
    return n.number(matrix.detach().t().numpy())
