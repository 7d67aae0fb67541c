"""Minimal long short-term memory: gates that see the input alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, sigmoid
from torch.nn.functional import linear, logsigmoid

from recurra.cells.base import Cell
from recurra.cells.gru import GRUState

__all__ = ["MinLSTM"]


class MinLSTM(Cell):
    """Minimal long short-term memory, linear in its state.

        f_t = σ(W_f x_t + b_f)                              forget gate
        i_t = σ(W_i x_t + b_i)                              input gate
        n_t = g(W_n x_t + b_n)                              candidate
        h_t = f′_t ⊙ h_{t-1} + i′_t ⊙ n_t,    f′ = f / (f + i),    i′ = i / (f + i) = 1 - f′

    with g(a) = a + ½ where a ≥ 0, else σ(a), so that h stays positive. W and b hold the gates in the order f, i, n;
    there is no U.

    Source: Feng et al. 2024, "Were RNNs all we needed?" (their h̃ is n here, their form in log space is this one).
    """

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size, gates=3, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W and b alone."""
        return {name: shape for name, shape in super().parameter_shapes().items() if "_ih_" in name}

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """x (B, I), h (B, H) -> h (B, H), next state."""
        f, i, n = linear(x, self.W, self.b).chunk(3, -1)
        f = sigmoid(logsigmoid(f) - logsigmoid(i))  # f / (f + i), which is 0 / 0 where both gates are closed
        n = torch.where(n >= 0, n + 0.5, sigmoid(n))
        h = f * state.h + (1 - f) * n
        return h, GRUState(h)

    def zero_state(self, batch: int) -> GRUState:
        """Zeros."""
        return GRUState(self.W.new_zeros(batch, self.hidden_size))
