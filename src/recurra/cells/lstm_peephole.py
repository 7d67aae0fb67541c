"""Long short-term memory whose gates see the memory."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn, sigmoid, tanh
from torch.nn.functional import linear

from recurra.cells.base import Cell
from recurra.cells.lstm import LSTMState

__all__ = ["PeepholeLSTM"]


class PeepholeLSTM(Cell):
    """Long short-term memory with peepholes: every gate sees its own unit of the memory.

        i_t = σ(W_i x_t + U_i h_{t-1} + p_i ⊙ c_{t-1} + b_i)
        f_t = σ(W_f x_t + U_f h_{t-1} + p_f ⊙ c_{t-1} + b_f)
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
        o_t = σ(W_o x_t + U_o h_{t-1} + p_o ⊙ c_t + b_o)     sees the memory as it is now
        h_t = o_t ⊙ tanh(c_t)

    W, U, b hold the gates in the order i, f, g, o; there is one bias. p (3H,) is in the order i, f, o, and named
    ``weight_ch_l0``, from the memory c to the hidden layer.

    Args:
        forget_bias: starting value of b_f.
    Source: Gers & Schmidhuber 2000; Gers, Schraudolph & Schmidhuber 2002 (their squashing functions varied; these are
        today's).
    """

    weight_ch_l0: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0, **options: Any) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size, gates=4, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U, p and one bias."""
        I, H = self.input_size, self.hidden_size
        matrices = {"weight_ih_l0": (4 * H, I), "weight_hh_l0": (4 * H, H)}
        return {**matrices, "weight_ch_l0": (3 * H,), "bias_ih_l0": (4 * H,)}

    @property
    def p(self) -> Tensor:
        """Peepholes (3H,)."""
        return self.weight_ch_l0

    def reset_parameters(self) -> None:
        """Draw as torch.nn does, then set the forget gate's bias."""
        super().reset_parameters()
        if self.b is not None:
            nn.init.constant_(self.b[self.hidden_size : 2 * self.hidden_size], self.forget_bias)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """x (B, I), state of (B, H) leaves -> h (B, H), next state."""
        h, c = state
        p_i, p_f, p_o = self.p.chunk(3)
        i, f, g, o = (linear(x, self.W, self.b) + linear(h, self.U)).chunk(4, -1)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)
        h = sigmoid(o + p_o * c) * tanh(c)
        return h, LSTMState(h, c)

    def zero_state(self, batch: int) -> LSTMState:
        """Zeros."""
        return LSTMState(self.U.new_zeros(batch, self.hidden_size), self.U.new_zeros(batch, self.hidden_size))
