"""The order in which gates stand in W, U and b, here and elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["GRU_OURS", "GRU_ZRH", "LSTM_IFCO", "LSTM_IOFC", "LSTM_OURS", "reorder"]

T = TypeVar("T", Tensor, NDArray[np.float32])

LSTM_OURS = "ifgo"
"""Of torch.nn, cuDNN and this package; g is the candidate, c elsewhere."""

LSTM_IFCO = "ifgo"
"""Of Keras: the same."""

LSTM_IOFC = "iofg"
"""Of ONNX."""

GRU_OURS = "rzn"
"""Of torch.nn, cuDNN and this package; n is the candidate, h elsewhere."""

GRU_ZRH = "zrn"
"""Of Keras and of ONNX."""


def reorder(array: T, given: Sequence[str], wanted: Sequence[str]) -> T:
    """Return blocks of rows in another order.

    Args:
        array: (G·H, ...), a block of H rows for each gate.
        given, wanted: the gates, as they stand and as they are to stand.
    """
    if isinstance(array, Tensor):
        blocks = dict(zip(given, array.chunk(len(given)), strict=True))
        return torch.cat([blocks[gate] for gate in wanted])
    parts = dict(zip(given, np.split(array, len(given)), strict=True))
    return np.concatenate([parts[gate] for gate in wanted])
