"""A loop over the cell in PyTorch, as anybody writes it for a cell that no library has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.benchmarks.peers.torch_nn import call_of
from recurra.benchmarks.work import Call, Work, kind_of

__all__ = ["loop", "prepare"]


def prepare(work: Work) -> Call | None:
    """Run the loop for cells that `torch.nn` does not have."""
    if kind_of(work.cell) in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        return None
    return call_of(work, lambda inputs: loop(work.cell, inputs, work.state), list(work.cell.parameters()))


def loop(cell: Any, inputs: Tensor, state: Any) -> Tensor:
    """Run a cell over inputs (T, B, I); returns outputs (T, B, O)."""
    outputs = []
    for x in inputs.unbind():
        output, state = cell.step(x, state)
        outputs.append(output)
    return torch.stack(outputs)
