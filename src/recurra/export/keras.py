"""Weights in the order of Keras: what ``layer.get_weights()`` gives and ``layer.set_weights()`` takes.

        kernel (I, G·H), recurrent_kernel (H, G·H), bias (G·H,), or (2, 3·H) of a GRU with ``reset_after=True``

LSTM has its gates in the order i, f, c, o, GRU in the order z, r, h. Nothing here needs Keras.

Source: keras.layers.SimpleRNN, LSTM and GRU, as in keras/src/layers/rnn/{simple_rnn,lstm,gru}.py of Keras 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra import cells
from recurra.config import check_choice
from recurra.errors import ConfigError, ShapeError
from recurra.export.gates import GRU_OURS, GRU_ZRH, reorder

__all__ = ["from_keras", "to_keras"]

Weights = list[NDArray[Any]]

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


def to_keras(cell: cells.Cell) -> Weights:
    """Return a cell's weights as the layer of Keras with the same equations has them.

    ==============  =======================================
    cell            layer of Keras
    ==============  =======================================
    `LSTM`          ``LSTM``
    `GRU`           ``GRU(reset_after=True)``, its default
    `OriginalGRU`   ``GRU(reset_after=False)``
    `Elman`         ``SimpleRNN``, activation tanh or relu
    ==============  =======================================

    A cell without bias has two arrays, for a layer with ``use_bias=False``. Where Keras has one bias, it is the sum of
    both of ours.

    Raises: ConfigError for a cell that Keras has no layer for.
    """
    if type(cell) not in (cells.LSTM, cells.GRU, cells.OriginalGRU, cells.Elman, cells.IRNN):
        raise ConfigError(f"Keras has no layer for {type(cell).__name__}; LSTM, both forms of GRU and Elman have one")
    is_gru = isinstance(cell, cells.GRU | cells.OriginalGRU)

    def gates(tensor: Tensor) -> NDArray[Any]:
        numbers: NDArray[Any] = tensor.detach().cpu().numpy()
        return reorder(numbers, GRU_OURS, GRU_ZRH) if is_gru else numbers

    weights = [np.ascontiguousarray(gates(matrix).T) for matrix in (cell.W, cell.U)]
    if cell.b is None:
        return weights
    if isinstance(cell, cells.OriginalGRU):
        return [*weights, gates(cell.b)]
    assert cell.b_U is not None
    if isinstance(cell, cells.GRU):
        return [*weights, np.stack([gates(cell.b), gates(cell.b_U)])]
    return [*weights, gates(cell.b + cell.b_U)]


def from_keras(weights: Sequence[Any], *, reset_after: bool | None = None, activation: str | None = None) -> cells.Cell:
    """Return the cell with the weights of a layer of Keras; which kind of layer it was shows in their shapes.

    Args:
        weights: of ``layer.get_weights()``: kernel, recurrent_kernel and, unless ``use_bias=False``, bias. Of
            ``Bidirectional`` the first half is the layer that reads forwards, the second the one that reads backwards.
        reset_after: of a GRU without bias, whose two forms have weights of the same shapes.
        activation: of a ``SimpleRNN``, "tanh" (default) or "relu".
    Returns: `LSTM`, `GRU`, `OriginalGRU` or `Elman`. Where Keras has one bias and we have two, the second is zero.
    Raises: ShapeError for arrays that are no layer's weights; ConfigError where `reset_after` is missing, or
        contradicts the weights, or an argument means nothing to the layer.
    """
    if not 2 <= len(weights) <= 3:
        raise ShapeError(f"a layer's weights are kernel, recurrent_kernel and bias; {len(weights)} arrays were given")
    arrays = [np.asarray(array) for array in weights]
    for array in arrays:
        if array.dtype not in (np.float16, np.float32, np.float64):
            raise ShapeError(f"a layer's weights are float16, float32 or float64, not {array.dtype}")
    kernel, recurrent = arrays[:2]
    bias = arrays[2] if len(arrays) == 3 else None
    shapes = ", ".join(str(array.shape) for array in arrays)
    if kernel.ndim != 2 or recurrent.ndim != 2 or not kernel.size or kernel.shape[1] != recurrent.shape[1]:
        raise ShapeError(f"these are no weights of a recurrent layer of Keras: {shapes}")
    hidden, columns = recurrent.shape
    gates = columns // hidden
    wanted = [(columns,), (2, columns)] if gates == 3 else [(columns,)]
    if gates not in (1, 3, 4) or columns % hidden or (bias is not None and bias.shape not in wanted):
        raise ShapeError(f"these are no weights of SimpleRNN, GRU or LSTM of Keras: {shapes}")
    if reset_after is not None and gates != 3:
        raise ConfigError(
            "reset_after tells the two forms of a GRU apart, and these are no weights of one; leave it out"
        )
    if activation is not None and gates != 1:
        raise ConfigError("activation is that of a SimpleRNN, and these are no weights of one; leave it out")
    cell = _make(gates, kernel.shape[0], hidden, bias, reset_after, activation, kernel.dtype)
    _fill(cell, kernel, recurrent, bias)
    return cell


def _make(
    gates: int,
    inputs: int,
    hidden: int,
    bias: NDArray[Any] | None,
    reset_after: bool | None,
    activation: str | None,
    dtype: Any,
) -> cells.Cell:
    options: dict[str, Any] = {"bias": bias is not None, "dtype": torch.from_numpy(np.zeros(0, dtype)).dtype}
    with torch.random.fork_rng(devices=[]):
        if gates == 4:
            return cells.LSTM(inputs, hidden, **options)
        if gates == 1:
            activation = "tanh" if activation is None else activation
            check_choice(ACTIVATIONS, activation=activation)
            return cells.Elman(inputs, hidden, nonlinearity=activation, **options)
        if bias is None and reset_after is None:
            raise ConfigError("both forms of a GRU have these weights where there is no bias; tell reset_after=")
        found = reset_after if bias is None else bias.ndim == 2
        if bias is not None and reset_after is not None and found != reset_after:
            raise ConfigError(f"a GRU with a bias {bias.shape} has reset_after={found}, not {reset_after}")
        return (cells.GRU if found else cells.OriginalGRU)(inputs, hidden, **options)


@torch.no_grad()
def _fill(cell: cells.Cell, kernel: NDArray[Any], recurrent: NDArray[Any], bias: NDArray[Any] | None) -> None:
    def gates(array: NDArray[Any]) -> Tensor:
        turned = np.ascontiguousarray(array)
        is_gru = isinstance(cell, cells.GRU | cells.OriginalGRU)
        return torch.from_numpy(reorder(turned, GRU_ZRH, GRU_OURS) if is_gru else turned.copy())

    cell.W.copy_(gates(kernel.T))
    cell.U.copy_(gates(recurrent.T))
    if bias is None or cell.b is None:
        return
    cell.b.copy_(gates(bias[0] if bias.ndim == 2 else bias))
    second = cell._parameters.get("bias_hh_l0")
    if second is not None:
        second.copy_(gates(bias[1]) if bias.ndim == 2 else torch.zeros_like(second))
