"""Long short-term memory with layer normalisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn, sigmoid, tanh
from torch.nn.functional import layer_norm, linear

from recurra.cells.base import Cell
from recurra.cells.lstm import LSTMState

__all__ = ["LayerNormLSTM"]


class LayerNormLSTM(Cell):
    """Long short-term memory with layer normalisation.

        (i, f, g, o)_t = LN(W x_t; α_W) + LN(U h_{t-1}; α_U) + b
        c_t = σ(f_t) ⊙ c_{t-1} + σ(i_t) ⊙ tanh(g_t)
        h_t = σ(o_t) ⊙ tanh(LN(c_t; α_c) + b_c)

    with LN(a; α) = α ⊙ (a - mean a) / √(var a + ε) over all features of a row. The paper's two biases before the gates
    only ever appear as their sum, b. W, U, b hold the gates in the order i, f, g, o.

    Args:
        forget_bias: starting value of b_f; the rest of b and b_c start at 0, every gain α at 1.
    Source: Ba, Kiros & Hinton 2016, supplementary material.
    """

    weight_norm_ih_l0: nn.Parameter
    weight_norm_hh_l0: nn.Parameter
    weight_norm_c_l0: nn.Parameter
    bias_norm_c_l0: nn.Parameter | None

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0, **options: Any) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size, gates=4, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U, b, the gains of the three normalisations, and b_c."""
        H = self.hidden_size
        shapes = super().parameter_shapes()
        del shapes["bias_hh_l0"]
        gains = {"weight_norm_ih_l0": (4 * H,), "weight_norm_hh_l0": (4 * H,), "weight_norm_c_l0": (H,)}
        return shapes | gains | {"bias_norm_c_l0": (H,)}

    def reset_parameters(self) -> None:
        """W and U as torch.nn draws them; gains 1, biases 0 but the forget gate's."""
        super().reset_parameters()
        for gain in (self.weight_norm_ih_l0, self.weight_norm_hh_l0, self.weight_norm_c_l0):
            nn.init.ones_(gain)
        if self.b is not None and self.bias_norm_c_l0 is not None:
            nn.init.zeros_(self.bias_norm_c_l0)
            nn.init.zeros_(self.b)
            with torch.no_grad():
                self.b[self.hidden_size : 2 * self.hidden_size] = self.forget_bias

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """x (B, I), state of (B, H) leaves -> h (B, H), next state."""
        (h, c), H = state, self.hidden_size
        Wx = layer_norm(linear(x, self.W), (4 * H,), self.weight_norm_ih_l0, self.b)
        Uh = layer_norm(linear(h, self.U), (4 * H,), self.weight_norm_hh_l0)
        i, f, g, o = (Wx + Uh).chunk(4, -1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(layer_norm(c, (H,), self.weight_norm_c_l0, self.bias_norm_c_l0))
        return h, LSTMState(h, c)

    def zero_state(self, batch: int) -> LSTMState:
        """Zeros."""
        return LSTMState(self.U.new_zeros(batch, self.hidden_size), self.U.new_zeros(batch, self.hidden_size))
