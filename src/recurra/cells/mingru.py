"""Minimal gated recurrent unit: gates that see the input alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, sigmoid
from torch.nn.functional import linear

from recurra.cells.base import Cell
from recurra.cells.gru import GRUState

__all__ = ["MinGRU"]


class MinGRU(Cell):
    """Minimal gated recurrent unit, linear in its state.

        z_t = σ(W_z x_t + b_z)                              update gate
        n_t = g(W_n x_t + b_n)                              candidate
        h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ n_t

    with g(a) = a + ½ where a ≥ 0, else σ(a), so that h stays positive. W and b hold the gates in the order z, n; there
    is no U.

    Source: Feng et al. 2024, "Were RNNs all we needed?" (their h̃ is n here, their form in log space is this one).
    """

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size, gates=2, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W and b alone."""
        return {name: shape for name, shape in super().parameter_shapes().items() if "_ih_" in name}

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """x (B, I), h (B, H) -> h (B, H), next state."""
        z, n = linear(x, self.W, self.b).chunk(2, -1)
        z, n = sigmoid(z), torch.where(n >= 0, n + 0.5, sigmoid(n))
        h = (1 - z) * state.h + z * n
        return h, GRUState(h)

    def zero_state(self, batch: int) -> GRUState:
        """Zeros."""
        return GRUState(self.W.new_zeros(batch, self.hidden_size))
