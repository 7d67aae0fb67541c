"""`torch.nn` in eager mode: its layers, and its cells for a single step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recurra.benchmarks.work import Call, Work, kind_of
from recurra.state import named_leaves

__all__ = ["call_of", "call_of_layer", "prepare", "prepare_cell"]


def prepare(work: Work) -> Call | None:
    """Run torch's layer where it has one of these equations."""
    return call_of_layer(work, nn)


def prepare_cell(work: Work) -> Call | None:
    """Run torch's cell, which is quicker than a layer for a single step."""
    kind = kind_of(work.cell)
    if work.case.mode != "step" or kind not in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        return None
    size = work.case.size
    if kind in ("lstm", "gru"):
        cell: Any = nn.LSTMCell(size, size) if kind == "lstm" else nn.GRUCell(size, size)
    else:
        cell = nn.RNNCell(size, size, nonlinearity=kind.removeprefix("rnn_"))
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in work.cell.state_dict().items()})
    leaves = tuple(named_leaves(work.state).values())
    state = leaves if kind == "lstm" else leaves[0]

    def forward(inputs: Tensor) -> Tensor:
        h: Tensor = cell(inputs[0], state)[0] if kind == "lstm" else cell(inputs[0], state)
        return h

    return call_of(work, forward, [])


def call_of_layer(work: Work, library: Any) -> Call | None:
    """Return the call of a library's layer with torch's constructors, `torch.nn` or `recurra.nn`; None without one."""
    kind, size = kind_of(work.cell), work.case.size
    if kind in ("lstm", "gru"):
        layer = (library.LSTM if kind == "lstm" else library.GRU)(size, size)
    elif kind in ("rnn_tanh", "rnn_relu"):
        layer = library.RNN(size, size, nonlinearity=kind.removeprefix("rnn_"))
    else:
        return None
    layer.load_state_dict(work.cell.state_dict())
    leaves = tuple(leaf.unsqueeze(0) for leaf in named_leaves(work.state).values())
    state = (leaves if kind == "lstm" else leaves[0]) if work.case.mode == "step" else None
    return call_of(work, lambda inputs: layer(inputs, state)[0], list(layer.parameters()))


def call_of(work: Work, forward: Callable[[Tensor], Tensor], parameters: Sequence[Tensor]) -> Call:
    """Return the call that runs a torch function of the inputs, in training with the gradients of everything."""
    if work.case.mode != "train":
        return lambda: (forward(work.inputs),)
    inputs = work.inputs.clone().requires_grad_()
    sources = [inputs, *parameters]

    def train() -> Sequence[Any]:
        outputs = forward(inputs)
        gradients = torch.autograd.grad(outputs, sources, work.cotangent, allow_unused=True)
        return outputs.detach(), *gradients

    return train
