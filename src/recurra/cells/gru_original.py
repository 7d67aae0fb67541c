"""Gated recurrent unit, the original form with the reset gate before the product."""

from __future__ import annotations

from typing import Any

from torch import Tensor, sigmoid, tanh
from torch.nn.functional import linear

from recurra.cells.base import Cell
from recurra.cells.gru import GRUState

__all__ = ["OriginalGRU"]


class OriginalGRU(Cell):
    """Gated recurrent unit, reset before the product.

        r_t = σ(W_r x_t + U_r h_{t-1} + b_r)                reset gate
        z_t = σ(W_z x_t + U_z h_{t-1} + b_z)                update gate
        n_t = tanh(W_n x_t + U_n (r_t ⊙ h_{t-1}) + b_n)
        h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

    W, U, b hold the gates in the order r, z, n; there is one bias.

    Source: Cho et al. 2014 (without biases there).
    """

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size, gates=3, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U and one bias: the second would add the same."""
        return {name: shape for name, shape in super().parameter_shapes().items() if name != "bias_hh_l0"}

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """x (B, I), h (B, H) -> h (B, H), next state."""
        (h,), H = state, self.hidden_size
        Wr, Wz, Wn = linear(x, self.W, self.b).chunk(3, -1)
        Ur, Uz = linear(h, self.U[: 2 * H]).chunk(2, -1)
        r, z = sigmoid(Wr + Ur), sigmoid(Wz + Uz)
        n = tanh(Wn + linear(r * h, self.U[2 * H :]))
        h = (1 - z) * n + z * h
        return h, GRUState(h)

    def zero_state(self, batch: int) -> GRUState:
        """Zeros."""
        return GRUState(self.U.new_zeros(batch, self.hidden_size))
