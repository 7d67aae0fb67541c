"""The cells that ONNX has operators for: RNN, LSTM (with and without peepholes) and GRU in both forms.

The operators' equations are in https://onnx.ai/onnx/operators/onnx__RNN.html, onnx__LSTM.html and onnx__GRU.html.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.cells import GRU, IRNN, LSTM, Elman, OriginalGRU, PeepholeLSTM
from recurra.export.gates import GRU_OURS, GRU_ZRH, LSTM_IOFC, LSTM_OURS, reorder
from recurra.export.onnx.nodes import Nodes

__all__ = ["Operator", "find_operator", "write_operator"]


class Operator(NamedTuple):
    """What a kind of cell is in ONNX.

    Args:
        name: of the operator.
        given, wanted: the order of the gates, here and there.
        attributes: of the node, given the cell.
    """

    name: str
    given: str
    wanted: str
    attributes: Callable[[Any], dict[str, Any]] = lambda cell: {}


OPERATORS: dict[type, Operator] = {
    Elman: Operator("RNN", "h", "h", lambda cell: {"activations": ["Tanh" if cell.phi is torch.tanh else "Relu"]}),
    IRNN: Operator("RNN", "h", "h", lambda cell: {"activations": ["Relu"]}),
    LSTM: Operator("LSTM", LSTM_OURS, LSTM_IOFC),
    PeepholeLSTM: Operator("LSTM", LSTM_OURS, LSTM_IOFC),
    GRU: Operator("GRU", GRU_OURS, GRU_ZRH, lambda cell: {"linear_before_reset": 1}),
    OriginalGRU: Operator("GRU", GRU_OURS, GRU_ZRH, lambda cell: {"linear_before_reset": 0}),
}
"""By the type itself: what derives from one of these may compute something else."""


def find_operator(cell: Any) -> Operator | None:
    """Return what computes a cell's recurrence in ONNX, if there is one."""
    return OPERATORS.get(type(cell))


def write_operator(
    n: Nodes, cell: Any, x: str, state: Sequence[str], lengths: str = "", reverse: bool = False
) -> tuple[str, list[str]]:
    """Write a scan of one of `OPERATORS`: x (T, B, I) and leaves (B, H) -> outputs (T, B, H), final leaves (B, H).

    Args:
        lengths: name of an int32 tensor (B,), or nothing.
        reverse: read from the last valid step to the first.
    """
    operator = OPERATORS[type(cell)]

    def gates(tensor: Tensor | None, missing: Tensor) -> Tensor:
        return reorder(missing if tensor is None else tensor.detach(), operator.given, operator.wanted)

    nothing = torch.zeros(cell.W.shape[0])
    second = cell.b_U if "bias_hh_l0" in cell._parameters else None
    both = torch.cat([gates(cell.b, nothing), gates(second, nothing)])
    weights = [_number(n, gates(tensor, nothing)) for tensor in (cell.W, cell.U)]
    bias = "" if cell.b is None else _number(n, both)
    start = [n.add("Unsqueeze", leaf, n.integers(0)) for leaf in state]
    # p stands in the order i, f, o here, and i, o, f there
    peepholes = [_number(n, reorder(cell.p.detach(), "ifo", "iof"))] if isinstance(cell, PeepholeLSTM) else []
    y, *final = n.add(
        operator.name,
        x,
        *weights,
        bias,
        lengths,
        *start,
        *peepholes,
        outputs=1 + len(state),
        hidden_size=cell.hidden_size,
        direction="reverse" if reverse else "forward",
        **operator.attributes(cell),
    )
    final = [n.add("Squeeze", leaf, n.integers(0)) for leaf in final]
    if lengths:  # of a row without steps, onnxruntime makes zeros
        read = n.add("Unsqueeze", n.add("Greater", lengths, n.number(0, np.int32)), n.integers(1))
        final = [n.add("Where", read, after, before) for after, before in zip(final, state, strict=True)]
    return n.add("Squeeze", y, n.integers(1)), final


def _number(n: Nodes, tensor: Tensor) -> str:
    """Return the name of a matrix or vector with the axis of directions before it."""
    array: NDArray[Any] = tensor.unsqueeze(0).numpy()
    return n.number(array, np.float32)
