"""The recurrent weights of a cell as square matrices, from the state to each gate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from recurra.cells import (
    GRU,
    LSTM,
    MGU,
    SLSTM,
    SRU,
    UGRNN,
    CoupledLSTM,
    LayerNormGRU,
    LayerNormLSTM,
    MogrifierLSTM,
    OriginalGRU,
    PeepholeLSTM,
)
from recurra.layers import Zoneout
from recurra.state import map_leaves

__all__ = ["recurrent_blocks"]

PRODUCTS = {"linear", "matmul", "__matmul__", "__rmatmul__", "mm", "addmm", "einsum", "bmm", "baddbmm"}
FUSED = {"rnn_tanh_cell", "rnn_relu_cell", "lstm_cell", "gru_cell"}
"""Torch's own cells, (x, state, W, U, biases)."""
GATES: dict[type, str] = {
    CoupledLSTM: "fgo",
    GRU: "rzn",
    LSTM: "ifgo",
    LayerNormGRU: "rzn",
    LayerNormLSTM: "ifgo",
    MGU: "fn",
    MogrifierLSTM: "ifgo",
    OriginalGRU: "rzn",
    PeepholeLSTM: "ifgo",
    SLSTM: "ifzo",
    SRU: "fr",
    UGRNN: "gc",
}
"""Orders of the gates in U, as the cells' docstrings give them."""


def recurrent_blocks(cell: Any, x: Any) -> dict[str, Tensor]:
    """Return the square blocks (H, H) of the weights that a cell multiplies its state by.

    A vector of weights, one for each unit, is a diagonal; blocks that are not square have no eigenvalues, and are left
    out. Of a cell that keeps no U under torch's name, those are found by watching its step.

    Args:
        x: input (1, I) for the step.
    Returns: by name: ``U_f`` for the forget gate of an LSTM, ``weight[1]`` for the second block of a parameter.
    """
    if isinstance(cell, Zoneout):
        cell = cell.cell
    for symbol, attribute in (("U", "weight_hh_l0"), ("v", "weight_ch_l0")):
        weight = getattr(cell, attribute, None)
        if isinstance(weight, Tensor):
            blocks = _square(weight.detach(), cell)
            if weight.ndim == 1:
                symbol = symbol.lower()
            return {_name(symbol, n, len(blocks), cell): block for n, block in enumerate(blocks)}
    found: dict[str, Tensor] = {}
    for path, weight in _watch(cell, x).items():
        blocks = _square(weight.detach(), cell)
        found |= {path if len(blocks) == 1 else f"{path}[{n}]": block for n, block in enumerate(blocks)}
    return found


def _name(symbol: str, n: int, count: int, cell: Any) -> str:
    gates = next((gates for kind, gates in GATES.items() if isinstance(cell, kind)), "")
    if len(gates) == count:
        return f"{symbol}_{gates[n]}"
    return symbol if count == 1 else f"{symbol}[{n}]"


def _square(weight: Tensor, cell: Any) -> list[Tensor]:
    if weight.ndim == 3:  # (heads, G·d, d): every head has its own block of every gate
        rows, width = weight.shape[1:]
        gates = weight.unflatten(1, (-1, width)).unbind(1) if rows % width == 0 else ()
        return [torch.block_diag(*gate) for gate in gates]
    if weight.ndim == 1:
        units = getattr(cell, "hidden_size", len(weight))
        return [torch.diag(gate) for gate in weight.split(units)]
    rows, width = weight.shape if weight.ndim == 2 else (1, 0)
    return list(weight.split(width)) if width and rows % width == 0 else []


class _Products(TorchFunctionMode):
    """Notes the parameters that something which follows from the state is multiplied by."""

    def __init__(self, parameters: dict[int, str]) -> None:
        self.parameters = parameters
        self.found: dict[str, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [a for a in (*args, *(kwargs or {}).values()) if isinstance(a, Tensor)]
        name = getattr(func, "__name__", "")
        if name in FUSED:
            self._note(args[3])
        elif name in PRODUCTS and any(a.requires_grad for a in given):
            for tensor in given:
                self._note(tensor)
        return func(*args, **(kwargs or {}))

    def _note(self, tensor: Tensor) -> None:
        name = self.parameters.get(tensor.untyped_storage().data_ptr())
        if name is not None and tensor.ndim >= 2:
            self.found[name] = None


def _asking(leaf: Tensor) -> Tensor:
    leaf = leaf.detach().clone()
    return leaf.requires_grad_() if leaf.is_floating_point() else leaf


def _watch(cell: Any, x: Any) -> dict[str, Tensor]:
    """Run a step in which nothing but the state asks for gradients: what asks for them follows from it."""
    parameters = dict(cell.named_parameters()) if hasattr(cell, "named_parameters") else {}
    names = {parameter.untyped_storage().data_ptr(): name for name, parameter in parameters.items()}
    with torch.enable_grad(), _Products(names) as seen:
        cell.step(x.detach(), map_leaves(_asking, cell.zero_state(1)))
    return {name: parameters[name] for name in seen.found}
