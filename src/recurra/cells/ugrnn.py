"""Update gate recurrent network: the simple network with one gate between old and new."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn, sigmoid, tanh
from torch.nn.functional import linear

from recurra.cells.base import Cell
from recurra.cells.gru import GRUState

__all__ = ["UGRNN"]


class UGRNN(Cell):
    """Update gate recurrent network.

        g_t = σ(W_g x_t + U_g h_{t-1} + b_g)                update gate
        c_t = tanh(W_c x_t + U_c h_{t-1} + b_c)             candidate
        h_t = g_t ⊙ h_{t-1} + (1 - g_t) ⊙ c_t

    W, U, b hold the gates in the order g, c; there is one bias.

    Args:
        forget_bias: starting value of b_g; h is kept where g is 1.
    Source: Collins, Sohl-Dickstein & Sussillo 2017 (where the forget bias is a constant added to b_g).
    """

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0, **options: Any) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size, gates=2, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U and one bias."""
        I, H = self.input_size, self.hidden_size
        return {"weight_ih_l0": (2 * H, I), "weight_hh_l0": (2 * H, H), "bias_ih_l0": (2 * H,)}

    def reset_parameters(self) -> None:
        """Draw as torch.nn does, then set the gate's bias."""
        super().reset_parameters()
        if self.b is not None:
            nn.init.constant_(self.b[: self.hidden_size], self.forget_bias)

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """x (B, I), h (B, H) -> h (B, H), next state."""
        (h,) = state
        g, c = (linear(x, self.W, self.b) + linear(h, self.U)).chunk(2, -1)
        g = sigmoid(g)
        h = g * h + (1 - g) * tanh(c)
        return h, GRUState(h)

    def zero_state(self, batch: int) -> GRUState:
        """Zeros."""
        return GRUState(self.U.new_zeros(batch, self.hidden_size))
