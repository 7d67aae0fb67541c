"""Jordan's network: what is fed back is the output, not the hidden layer."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import linear

from recurra.cells.base import Cell
from recurra.cells.elman import ACTIVATIONS
from recurra.config import check_choice
from recurra.errors import ShapeError

__all__ = ["Jordan", "JordanState"]


class JordanState(NamedTuple):
    """The last output y, (B, O)."""

    y: Tensor


class Jordan(Cell):
    """Jordan's network, whose output is fed back.

        h_t = φ(W x_t + U y_{t-1} + b)
        y_t = ψ(V h_t + c)

    W (H, I), U (H, O), V (O, H); b is the sum of two biases. V is named as torch names a projection.

    Args:
        output_size: features O of y; default `hidden_size`.
        nonlinearity: φ, "tanh" or "relu".
        output_nonlinearity: ψ, "tanh" or "relu".
    Source: Jordan 1986.
    """

    weight_hr_l0: nn.Parameter
    bias_hr_l0: nn.Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        nonlinearity: str = "tanh",
        output_nonlinearity: str = "tanh",
        **options: Any,
    ) -> None:
        check_choice(ACTIVATIONS, nonlinearity=nonlinearity, output_nonlinearity=output_nonlinearity)
        if output_size is not None and output_size < 1:
            raise ShapeError(f"sizes must be positive: output_size={output_size}")
        self._output_size = hidden_size if output_size is None else output_size
        super().__init__(input_size, hidden_size, gates=1, **options)
        self.phi, self.psi = ACTIVATIONS[nonlinearity], ACTIVATIONS[output_nonlinearity]

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U (H, O), b, and V, c of the output."""
        H, O = self.hidden_size, self.output_size
        return super().parameter_shapes() | {"weight_hh_l0": (H, O), "weight_hr_l0": (O, H), "bias_hr_l0": (O,)}

    @property
    def output_size(self) -> int:
        """Features O of the output."""
        return self._output_size

    def step(self, x: Tensor, state: JordanState) -> tuple[Tensor, JordanState]:
        """x (B, I), y (B, O) -> y (B, O), next state."""
        V, c = self.weight_hr_l0, self.bias_hr_l0
        h = self.phi(linear(x, self.W, self.b) + linear(state.y, self.U, self.b_U))
        y = self.psi(linear(h, V, c))
        return y, JordanState(y)

    def zero_state(self, batch: int) -> JordanState:
        """Zeros."""
        return JordanState(self.U.new_zeros(batch, self.output_size))
