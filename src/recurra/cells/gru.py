"""Gated recurrent unit, the form with the reset gate after the product."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, sigmoid, tanh
from torch.nn.functional import linear

from recurra.cells.base import Cell

__all__ = ["GRU", "GRUState"]


class GRUState(NamedTuple):
    """The hidden layer h, (B, H)."""

    h: Tensor


class GRU(Cell):
    """Gated recurrent unit, reset after the product (cuDNN, torch.nn).

        r_t = σ(W_r x_t + U_r h_{t-1} + b_r)                reset gate
        z_t = σ(W_z x_t + U_z h_{t-1} + b_z)                update gate
        n_t = tanh(W_n x_t + b_n + r_t ⊙ (U_n h_{t-1} + b′_n))
        h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

    W, U hold the gates in the order r, z, n; b_r and b_z are sums of torch's two biases.

    Source: Cho et al. 2014; this form as in the documentation of torch.nn.GRU.
    """

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size, gates=3, **options)

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """x (B, I), h (B, H) -> h (B, H), next state."""
        Wr, Wz, Wn = linear(x, self.W, self.b).chunk(3, -1)
        Ur, Uz, Un = linear(state.h, self.U, self.b_U).chunk(3, -1)
        r, z = sigmoid(Wr + Ur), sigmoid(Wz + Uz)
        n = tanh(Wn + r * Un)
        h = (1 - z) * n + z * state.h
        return h, GRUState(h)

    def zero_state(self, batch: int) -> GRUState:
        """Zeros."""
        return GRUState(self.U.new_zeros(batch, self.hidden_size))
