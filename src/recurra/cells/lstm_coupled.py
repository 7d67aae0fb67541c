"""Long short-term memory with one gate for forgetting and writing."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn, sigmoid, tanh
from torch.nn.functional import linear

from recurra.cells.base import Cell
from recurra.cells.lstm import LSTMState

__all__ = ["CoupledLSTM"]


class CoupledLSTM(Cell):
    """Long short-term memory with coupled gates (CIFG): what is forgotten is what is written anew, i = 1 - f.

        f_t = σ(W_f x_t + U_f h_{t-1} + b_f)        forget gate
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)     candidate
        o_t = σ(W_o x_t + U_o h_{t-1} + b_o)        output gate
        c_t = f_t ⊙ c_{t-1} + (1 - f_t) ⊙ g_t
        h_t = o_t ⊙ tanh(c_t)

    W, U, b hold the gates in the order f, g, o; there is one bias.

    Args:
        forget_bias: starting value of b_f.
    Source: Greff et al. 2017 (there with peepholes, and with i as the gate that is learned and f = 1 - i).
    """

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0, **options: Any) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size, gates=3, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U and one bias."""
        I, H = self.input_size, self.hidden_size
        return {"weight_ih_l0": (3 * H, I), "weight_hh_l0": (3 * H, H), "bias_ih_l0": (3 * H,)}

    def reset_parameters(self) -> None:
        """Draw as torch.nn does, then set the forget gate's bias."""
        super().reset_parameters()
        if self.b is not None:
            nn.init.constant_(self.b[: self.hidden_size], self.forget_bias)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """x (B, I), state of (B, H) leaves -> h (B, H), next state."""
        h, c = state
        f, g, o = (linear(x, self.W, self.b) + linear(h, self.U)).chunk(3, -1)
        f = sigmoid(f)
        c = f * c + (1 - f) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h, LSTMState(h, c)

    def zero_state(self, batch: int) -> LSTMState:
        """Zeros."""
        return LSTMState(self.U.new_zeros(batch, self.hidden_size), self.U.new_zeros(batch, self.hidden_size))
