"""Long short-term memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, sigmoid, tanh
from torch.nn.functional import linear

from recurra.cells.base import Cell

__all__ = ["LSTM", "LSTMState"]


class LSTMState(NamedTuple):
    """Visible part h and memory c, both (B, H)."""

    h: Tensor
    c: Tensor


class LSTM(Cell):
    """Long short-term memory.

        i_t = σ(W_i x_t + U_i h_{t-1} + b_i)        input gate
        f_t = σ(W_f x_t + U_f h_{t-1} + b_f)        forget gate
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)     candidate
        o_t = σ(W_o x_t + U_o h_{t-1} + b_o)        output gate
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
        h_t = o_t ⊙ tanh(c_t)

    W, U, b hold the gates in the order i, f, g, o; b is the sum of torch's two biases.

    Args:
        forget_bias: starting value of b_f (the sum of both biases); a memory that is kept at first is learned sooner.
    Source: Hochreiter & Schmidhuber 1997; forget gate Gers et al. 2000; forget bias Jozefowicz et al. 2015.
    """

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0, **options: Any) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size, gates=4, **options)

    def reset_parameters(self) -> None:
        """Draw as torch.nn does, then set the forget gate's bias."""
        super().reset_parameters()
        if self.b is not None and self.b_U is not None:
            forget = slice(self.hidden_size, 2 * self.hidden_size)
            with torch.no_grad():
                self.b[forget] = self.forget_bias
                self.b_U[forget] = 0.0

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """x (B, I), state of (B, H) leaves -> h (B, H), next state."""
        h, c = state
        i, f, g, o = (linear(x, self.W, self.b) + linear(h, self.U, self.b_U)).chunk(4, -1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h, LSTMState(h, c)

    def zero_state(self, batch: int) -> LSTMState:
        """Zeros."""
        return LSTMState(self.U.new_zeros(batch, self.hidden_size), self.U.new_zeros(batch, self.hidden_size))
