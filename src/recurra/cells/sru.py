"""Simple recurrent unit: no matrix between one step and the next."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from torch import Tensor, nn, sigmoid
from torch.nn.functional import linear

from recurra.cells.base import Cell

__all__ = ["SRU", "SRUState"]


class SRUState(NamedTuple):
    """The memory c, (B, H); the output is not fed back."""

    c: Tensor


class SRU(Cell):
    """Simple recurrent unit: a memory whose gates see their own unit of it, and a highway around it.

        f_t = σ(W_f x_t + v_f ⊙ c_{t-1} + b_f)              forget gate
        r_t = σ(W_r x_t + v_r ⊙ c_{t-1} + b_r)              highway gate
        c_t = f_t ⊙ c_{t-1} + (1 - f_t) ⊙ (W_c x_t)
        h_t = r_t ⊙ c_t + (1 - r_t) ⊙ s_t

    with s_t = α x_t, α = √(1 + 2 exp(highway_bias)), where I = H, and s_t = W_s x_t where not. W holds the blocks f, r,
    c and, where it is needed, s; b holds f, r; v (2H,) holds f, r and is named ``weight_ch_l0``, from c to the hidden
    layer.

    Args:
        highway_bias: starting value of b_r; below 0 the input is passed on at first.
    Source: Lei et al. 2018; the start, and W_s, as in the authors' code.
    """

    weight_ch_l0: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int, *, highway_bias: float = 0.0, **options: Any) -> None:
        self.highway_bias, self.alpha = highway_bias, math.sqrt(1 + 2 * math.exp(highway_bias))
        super().__init__(input_size, hidden_size, gates=3 if input_size == hidden_size else 4, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, v, and the biases of f and r."""
        I, H = self.input_size, self.hidden_size
        return {"weight_ih_l0": (self.gates * H, I), "weight_ch_l0": (2 * H,), "bias_ih_l0": (2 * H,)}

    @property
    def v(self) -> Tensor:
        """Recurrent weights (2H,)."""
        return self.weight_ch_l0

    def reset_parameters(self) -> None:
        """W of variance 1/(2I) in the gates, 1/I in W_c, α²/I in W_s; v of variance ½; b_f = 0, b_r = highway_bias."""
        variances = [0.5, 0.5, 1.0, self.alpha**2]
        for block, variance in zip(self.W.detach().split(self.hidden_size), variances, strict=False):
            bound = math.sqrt(3 * variance / self.input_size)
            nn.init.uniform_(block, -bound, bound)
        nn.init.uniform_(self.v, -math.sqrt(1.5), math.sqrt(1.5))
        if self.b is not None:
            nn.init.zeros_(self.b)
            nn.init.constant_(self.b[self.hidden_size :], self.highway_bias)

    def step(self, x: Tensor, state: SRUState) -> tuple[Tensor, SRUState]:
        """x (B, I), c (B, H) -> h (B, H), next state."""
        (c,), H = state, self.hidden_size
        v_f, v_r = self.v.chunk(2)
        f, r = linear(x, self.W[: 2 * H], self.b).chunk(2, -1)
        new, *s = linear(x, self.W[2 * H :]).split(H, -1)
        f, r = sigmoid(f + v_f * c), sigmoid(r + v_r * c)
        c = f * c + (1 - f) * new
        h = r * c + (1 - r) * (s[0] if s else self.alpha * x)
        return h, SRUState(c)

    def zero_state(self, batch: int) -> SRUState:
        """Zeros."""
        return SRUState(self.W.new_zeros(batch, self.hidden_size))
