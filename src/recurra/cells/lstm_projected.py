"""Long short-term memory whose visible part is a projection of its memory."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn, sigmoid, tanh
from torch.nn.functional import linear

from recurra.cells.lstm import LSTM, LSTMState
from recurra.errors import ShapeError

__all__ = ["ProjectedLSTM"]


class ProjectedLSTM(LSTM):
    """Long short-term memory with a recurrent projection: a large memory c (B, H) behind a small h (B, P).

        i_t, f_t, g_t, o_t as in the LSTM, with U (4H, P)
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
        h_t = P (o_t ⊙ tanh(c_t))

    Args:
        proj_size: features P of h, fewer than `hidden_size`.
    Source: Sak, Senior & Beaufays 2014; this form as in the documentation of torch.nn.LSTM.
    """

    weight_hr_l0: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int, proj_size: int, **options: Any) -> None:
        if not 0 < proj_size < hidden_size:
            raise ShapeError(f"proj_size must lie between 0 and hidden_size={hidden_size}, not {proj_size}")
        self.proj_size = proj_size
        super().__init__(input_size, hidden_size, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U (4H, P), b, and the projection P."""
        H, P = self.hidden_size, self.proj_size
        return super().parameter_shapes() | {"weight_hh_l0": (4 * H, P), "weight_hr_l0": (P, H)}

    @property
    def P(self) -> Tensor:
        """Projection (P, H)."""
        return self.weight_hr_l0

    @property
    def output_size(self) -> int:
        """Features P of the output."""
        return self.proj_size

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """x (B, I), state of h (B, P) and c (B, H) -> h (B, P), next state."""
        h, c = state
        i, f, g, o = (linear(x, self.W, self.b) + linear(h, self.U, self.b_U)).chunk(4, -1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = linear(sigmoid(o) * tanh(c), self.P)
        return h, LSTMState(h, c)

    def zero_state(self, batch: int) -> LSTMState:
        """Zeros."""
        return LSTMState(self.U.new_zeros(batch, self.proj_size), self.U.new_zeros(batch, self.hidden_size))

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{super().extra_repr()}, proj_size={self.proj_size}"
