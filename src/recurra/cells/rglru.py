"""Real-gated linear recurrent unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn, sigmoid
from torch.nn.functional import linear, logsigmoid

from recurra.cells.base import Cell
from recurra.cells.gru import GRUState

__all__ = ["RGLRU"]

SMALLEST = 1e-30
"""Floor below the square root, whose derivative is infinite at 0, where a gate r is shut."""


class RGLRU(Cell):
    """Real-gated linear recurrent unit, linear in its state.

        r_t = σ(W_r x_t + b_r)                              recurrence gate
        i_t = σ(W_i x_t + b_i)                              input gate
        a_t = σ(Λ)^{8 r_t}, computed as exp(8 r_t log σ(Λ))
        h_t = a_t ⊙ h_{t-1} + √(1 - a_t²) ⊙ i_t ⊙ x_t

    W (2H, H) and b hold the gates in the order r, i. Where I ≠ H, x_t is P x_t throughout, with P (H, I) named
    ``weight_xh_l0``. Λ (H,), named ``weight_a_l0``, starts such that σ(Λ)⁸ is uniform in [0.9, 0.999].

    Source: De et al. 2024, "Griffin" (the gates are full matrices, as in the paper's equations).
    """

    weight_a_l0: nn.Parameter
    weight_xh_l0: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size, gates=2, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, b, Λ, and P where it is needed."""
        I, H = self.input_size, self.hidden_size
        P = {} if I == H else {"weight_xh_l0": (H, I)}
        return {**P, "weight_ih_l0": (2 * H, H), "weight_a_l0": (H,), "bias_ih_l0": (2 * H,)}

    @property
    def Lambda(self) -> Tensor:
        """Λ (H,), how much is kept: the logit of a where r = ⅛."""
        return self.weight_a_l0

    def reset_parameters(self) -> None:
        """Draw as torch.nn does, but Λ."""
        super().reset_parameters()
        kept = torch.empty_like(self.Lambda, dtype=torch.float32, requires_grad=False).uniform_(0.9, 0.999)
        with torch.no_grad():
            self.Lambda.copy_(torch.logit(kept ** (1 / 8)))

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """x (B, I), h (B, H) -> h (B, H), next state."""
        x = x if self.input_size == self.hidden_size else linear(x, self.weight_xh_l0)
        r, i = sigmoid(linear(x, self.W, self.b)).chunk(2, -1)
        log_a = 8 * r * logsigmoid(self.Lambda)
        room = (-torch.expm1(2 * log_a)).clamp(min=SMALLEST)  # 1 - a², which loses all digits where a is close to 1
        h = torch.exp(log_a) * state.h + torch.sqrt(room) * i * x
        return h, GRUState(h)

    def zero_state(self, batch: int) -> GRUState:
        """Zeros."""
        return GRUState(self.W.new_zeros(batch, self.hidden_size))
