"""Minimal gated unit: a GRU with one gate."""

from __future__ import annotations

from typing import Any

from torch import Tensor, sigmoid, tanh
from torch.nn.functional import linear

from recurra.cells.base import Cell
from recurra.cells.gru import GRUState

__all__ = ["MGU"]


class MGU(Cell):
    """Minimal gated unit: one gate resets and updates.

        f_t = σ(W_f x_t + U_f h_{t-1} + b_f)                forget gate
        n_t = tanh(W_n x_t + U_n (f_t ⊙ h_{t-1}) + b_n)
        h_t = (1 - f_t) ⊙ h_{t-1} + f_t ⊙ n_t

    W, U, b hold the gates in the order f, n; there is one bias. Mind that f = 1 forgets here.

    Source: Zhou et al. 2016, "Minimal gated unit for recurrent neural networks" (their h̃ is n here).
    """

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size, gates=2, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U and one bias."""
        I, H = self.input_size, self.hidden_size
        return {"weight_ih_l0": (2 * H, I), "weight_hh_l0": (2 * H, H), "bias_ih_l0": (2 * H,)}

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """x (B, I), h (B, H) -> h (B, H), next state."""
        (h,) = state
        U_f, U_n = self.U.chunk(2)
        f, n = linear(x, self.W, self.b).chunk(2, -1)
        f = sigmoid(f + linear(h, U_f))
        n = tanh(n + linear(f * h, U_n))
        h = (1 - f) * h + f * n
        return h, GRUState(h)

    def zero_state(self, batch: int) -> GRUState:
        """Zeros."""
        return GRUState(self.U.new_zeros(batch, self.hidden_size))
