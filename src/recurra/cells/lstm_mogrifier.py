"""Long short-term memory whose input and state gate each other first."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn, sigmoid, tanh
from torch.nn.functional import linear

from recurra.cells.base import Cell
from recurra.cells.lstm import LSTMState
from recurra.config import check_at_least

__all__ = ["MogrifierLSTM"]


class MogrifierLSTM(Cell):
    """Long short-term memory after some rounds in which x and h scale each other.

        x ← 2 σ(Q_k h) ⊙ x    in round k = 1, 3, 5 …        Q_k (I, H)
        h ← 2 σ(R_k x) ⊙ h    in round k = 2, 4, 6 …        R_k (H, I)
        c_t, h_t = the LSTM's, from x, h and c_{t-1}

    from x_t and h_{t-1}. W, U, b hold the gates in the order i, f, g, o. The matrix of round k is ``weight_mog{k}_l0``;
    with `rank` it is the product of that one (·, rank) and ``weight_mog{k}_in_l0`` (rank, ·).

    Args:
        rounds: how many, 0 for the LSTM.
        rank: of Q_k and R_k; default full.
        forget_bias: starting value of b_f.
    Source: Melis, Kočiský & Blunsom 2020.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        rounds: int = 5,
        rank: int | None = None,
        forget_bias: float = 1.0,
        **options: Any,
    ) -> None:
        check_at_least(0, rounds=rounds)
        check_at_least(1, rank=rank)
        self.rounds, self.rank, self.forget_bias = rounds, rank, forget_bias
        super().__init__(input_size, hidden_size, gates=4, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U, one bias, and the matrices of the rounds."""
        I, H, rank = self.input_size, self.hidden_size, self.rank
        shapes: dict[str, tuple[int, ...]] = {"weight_ih_l0": (4 * H, I), "weight_hh_l0": (4 * H, H)}
        for k in range(1, self.rounds + 1):
            to, of = (I, H) if k % 2 else (H, I)
            shapes |= {f"weight_mog{k}_l0": (to, rank or of)} | ({f"weight_mog{k}_in_l0": (rank, of)} if rank else {})
        return shapes | {"bias_ih_l0": (4 * H,)}

    def reset_parameters(self) -> None:
        """Draw as torch.nn does, then set the forget gate's bias."""
        super().reset_parameters()
        if self.b is not None:
            nn.init.constant_(self.b[self.hidden_size : 2 * self.hidden_size], self.forget_bias)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """x (B, I), state of (B, H) leaves -> h (B, H), next state."""
        h, c = state
        for k in range(1, self.rounds + 1):
            x, h = (self._scale(k, h) * x, h) if k % 2 else (x, self._scale(k, x) * h)
        i, f, g, o = (linear(x, self.W, self.b) + linear(h, self.U)).chunk(4, -1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h, LSTMState(h, c)

    def _scale(self, k: int, a: Tensor) -> Tensor:
        a = linear(a, getattr(self, f"weight_mog{k}_in_l0")) if self.rank else a
        return 2 * sigmoid(linear(a, getattr(self, f"weight_mog{k}_l0")))

    def zero_state(self, batch: int) -> LSTMState:
        """Zeros."""
        return LSTMState(self.U.new_zeros(batch, self.hidden_size), self.U.new_zeros(batch, self.hidden_size))
