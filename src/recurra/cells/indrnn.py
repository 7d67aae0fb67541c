"""Independently recurrent network: every unit remembers itself alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn, relu
from torch.nn.functional import linear

from recurra.cells.base import Cell
from recurra.cells.elman import ElmanState
from recurra.errors import ConfigError

__all__ = ["IndRNN"]


class IndRNN(Cell):
    """Independently recurrent network: one recurrent weight per unit.

        h_t = ReLU(W x_t + u ⊙ h_{t-1} + b)

    u (H,) stands where other cells have the matrix U, and starts uniform in [0, bound]. Over T steps a unit's memory is
    multiplied by u^T: the paper takes, and keeps by clipping, |u| ≤ γ^{1/T} with γ = 2, which tends to 1 for long
    sequences. Here only the start is within the bound.

    Args:
        bound: largest starting value of u.
    Source: Li et al. 2018.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bound: float = 1.0, **options: Any) -> None:
        if not bound > 0:
            raise ConfigError(f"'bound' must be positive, not {bound}")
        self.bound = bound
        super().__init__(input_size, hidden_size, gates=1, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, u and one bias."""
        I, H = self.input_size, self.hidden_size
        return {"weight_ih_l0": (H, I), "weight_hh_l0": (H,), "bias_ih_l0": (H,)}

    @property
    def u(self) -> Tensor:
        """Recurrent weights (H,)."""
        return self.weight_hh_l0

    def reset_parameters(self) -> None:
        """W and b as torch.nn draws them; u uniform in [0, bound]."""
        super().reset_parameters()
        nn.init.uniform_(self.u, 0, self.bound)

    def step(self, x: Tensor, state: ElmanState) -> tuple[Tensor, ElmanState]:
        """x (B, I), h (B, H) -> h (B, H), next state."""
        h = relu(linear(x, self.W, self.b) + self.u * state.h)
        return h, ElmanState(h)

    def zero_state(self, batch: int) -> ElmanState:
        """Zeros."""
        return ElmanState(self.u.new_zeros(batch, self.hidden_size))
