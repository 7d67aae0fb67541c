"""Scalar LSTM of the xLSTM family: gates that are exponentials."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, einsum, exp, full_like, maximum, nn, sigmoid, tanh
from torch.nn.functional import linear, logsigmoid

from recurra.cells.base import Cell
from recurra.errors import ShapeError

__all__ = ["SLSTM", "SLSTMState"]


class SLSTMState(NamedTuple):
    """Visible part h; memory c, its normaliser n, and m, the logarithm of a factor that both lack. All (B, H); c, n, m
    mean something together only, so zoneout is for h."""

    h: Tensor
    c: Tensor
    n: Tensor
    m: Tensor


class SLSTM(Cell):
    """Scalar LSTM with exponential gates, kept in range by m.

        ĩ, f̃, z̃, õ = W x_t + U h_{t-1} + b                  U is block-diagonal, a block per head
        m_t = max(log σ(f̃) + m_{t-1}, ĩ)
        i_t = exp(ĩ - m_t),    f_t = exp(log σ(f̃) + m_{t-1} - m_t)
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ tanh(z̃)
        n_t = f_t ⊙ n_{t-1} + i_t
        h_t = σ(õ) ⊙ c_t / n_t

    W, b hold the gates in the order i, f, z, o; U, (heads, 4H/heads, H/heads), holds them in that order in every head.

    Args:
        heads: groups of units that see each other; a divisor of `hidden_size`.
        forget_bias: starting value of b_f.
    Source: Beck et al. 2024, "xLSTM" (of the paper's two forget gates, σ and exp, the one its code has).
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, heads: int = 1, forget_bias: float = 1.0, **options: Any
    ) -> None:
        if heads < 1 or hidden_size % heads:
            raise ShapeError(f"heads must divide hidden_size={hidden_size}; {heads} does not")
        self.heads, self.forget_bias = heads, forget_bias
        super().__init__(input_size, hidden_size, gates=4, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U by heads, and one bias."""
        I, H, d = self.input_size, self.hidden_size, self.hidden_size // self.heads
        return {"weight_ih_l0": (4 * H, I), "weight_hh_l0": (self.heads, 4 * d, d), "bias_ih_l0": (4 * H,)}

    def reset_parameters(self) -> None:
        """Draw as torch.nn does, then set the forget gate's bias."""
        super().reset_parameters()
        if self.b is not None:
            nn.init.constant_(self.b[self.hidden_size : 2 * self.hidden_size], self.forget_bias)

    def step(self, x: Tensor, state: SLSTMState) -> tuple[Tensor, SLSTMState]:
        """x (B, I), state of (B, H) leaves -> h (B, H), next state."""
        h, c, n, m = state
        Wx = linear(x, self.W, self.b).chunk(4, -1)
        Uh = einsum("bhk,hjk->bhj", h.unflatten(-1, (self.heads, -1)), self.U).chunk(4, -1)
        i, f, z, o = (from_x + from_h.flatten(-2) for from_x, from_h in zip(Wx, Uh, strict=True))
        kept = logsigmoid(f) + m
        m = maximum(kept, i)
        i, f = exp(i - m), exp(kept - m)
        c, n = f * c + i * tanh(z), f * n + i
        h = sigmoid(o) * c / n
        return h, SLSTMState(h, c, n, m)

    def zero_state(self, batch: int) -> SLSTMState:
        """h = c = n = 0, for which any m gives the same output, and m below any ĩ, for which n ≥ 1 from then on."""
        h, c, n = (self.W.new_zeros(batch, self.hidden_size) for _ in range(3))
        return SLSTMState(h, c, n, full_like(h, -1000.0))  # not -∞: it has no derivative
