"""The simple recurrent network, and its ReLU form that starts from the identity."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from recurra.cells.base import Cell
from recurra.errors import ConfigError, nearest

__all__ = ["IRNN", "Elman", "ElmanState"]

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


class ElmanState(NamedTuple):
    """The hidden layer h, (B, H)."""

    h: Tensor


class Elman(Cell):
    """The simple recurrent network.

        h_t = φ(W x_t + U h_{t-1} + b)

    Args:
        nonlinearity: φ, "tanh" or "relu".
    Source: Elman 1990.
    """

    def __init__(self, input_size: int, hidden_size: int, *, nonlinearity: str = "tanh", **options: Any) -> None:
        if nonlinearity not in ACTIVATIONS:
            raise ConfigError(f"unknown nonlinearity '{nonlinearity}'{nearest(nonlinearity, ACTIVATIONS)}")
        super().__init__(input_size, hidden_size, gates=1, **options)
        self.phi = ACTIVATIONS[nonlinearity]

    def step(self, x: Tensor, state: ElmanState) -> tuple[Tensor, ElmanState]:
        """x (B, I), h (B, H) -> h (B, H), next state."""
        h = self.phi(linear(x, self.W, self.b) + linear(state.h, self.U, self.b_U))
        return h, ElmanState(h)

    def zero_state(self, batch: int) -> ElmanState:
        """Zeros."""
        return ElmanState(self.U.new_zeros(batch, self.hidden_size))


class IRNN(Elman):
    """Elman's network with ReLU that starts as a perfect memory: U the identity, b zero.

    Source: Le, Jaitly & Hinton 2015 (input weights drawn from N(0, 0.001²) there; here as torch draws them).
    """

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size, nonlinearity="relu", **options)

    def reset_parameters(self) -> None:
        """U = I, b = 0; W as torch.nn draws it."""
        super().reset_parameters()
        nn.init.eye_(self.U)
        for bias in (self.b, self.b_U):
            if bias is not None:
                nn.init.zeros_(bias)
