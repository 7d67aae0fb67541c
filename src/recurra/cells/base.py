"""What the cells of this package share: where parameters live and how a view with other parameters is made."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from recurra.errors import ShapeError

__all__ = ["Cell"]


class Cell(nn.Module):
    """One step of a recurrent network.

    A subclass defines ``step(x (B, I), state) -> (output (B, O), state)`` in plain PyTorch and
    ``zero_state(batch)``. The step holds no loop over time, keeps nothing on the module and draws no random numbers.

    Parameters are registered once, under the names and in the gate order that ``torch.nn`` uses, and read in equations
    through the symbols `W` (G·H, I), `U` (G·H, H), `b` and `b_U` (G·H,); `b_U` is the second bias, on the recurrent
    side, that torch keeps. Initialisation is torch's: uniform in ±1/√H.

    Args:
        gates: number of blocks of H rows in W and U.
    """

    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter | None
    bias_hh_l0: nn.Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        gates: int = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if input_size < 1 or hidden_size < 1:
            raise ShapeError(f"sizes must be positive: input_size={input_size}, hidden_size={hidden_size}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.gates = gates
        for name, shape in self.parameter_shapes().items():
            wanted = bias or not name.startswith("bias")
            value = nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, value)
        self.reset_parameters()

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameters by torch's names; a cell with others, or fewer, overrides this."""
        rows = self.gates * self.hidden_size
        return {
            "weight_ih_l0": (rows, self.input_size),
            "weight_hh_l0": (rows, self.hidden_size),
            "bias_ih_l0": (rows,),
            "bias_hh_l0": (rows,),
        }

    @property
    def W(self) -> Tensor:
        """Input weights (G·H, I)."""
        return self.weight_ih_l0

    @property
    def U(self) -> Tensor:
        """Recurrent weights (G·H, H)."""
        return self.weight_hh_l0

    @property
    def b(self) -> Tensor | None:
        """Bias (G·H,), or None."""
        return self.bias_ih_l0

    @property
    def b_U(self) -> Tensor | None:
        """Bias on the recurrent side (G·H,), or None."""
        return self.bias_hh_l0

    @property
    def output_size(self) -> int:
        """Features O of the output."""
        return self.hidden_size

    def reset_parameters(self) -> None:
        """Draw all parameters anew: uniform in ±1/√H, as torch.nn does."""
        bound = self.hidden_size**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Advance one time step: x (B, I) and a state of B rows give output (B, O) and the next state."""
        raise NotImplementedError

    def zero_state(self, batch: int) -> Any:
        """Return the state that a fresh row starts from, B rows, in the type and on the device of the weights."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Call `step`."""
        return self.step(x, state)

    def bind(self, **tensors: Tensor | None) -> Self:
        """Return a view of this cell that computes with the given tensors as parameters; nothing is copied.

        The way to run a cell with dropped, averaged or shared weights.
        Gradient: flows into the given tensors.
        Raises: ShapeError for a name that is no parameter of the cell, or another shape.
        """
        view = object.__new__(type(self))  # copy.copy, which torch.compile does not read
        view.__dict__.update(self.__dict__)
        parameters: dict[str, Any] = dict(self._parameters)
        for name, tensor in tensors.items():
            if name not in parameters:
                raise ShapeError(f"{type(self).__name__} has no parameter '{name}'; it has {', '.join(parameters)}")
            old = parameters[name]
            if tensor is not None and old is not None and tensor.shape != old.shape:
                raise ShapeError(f"'{name}' has shape {tuple(tensor.shape)}, expected {tuple(old.shape)}")
            parameters[name] = tensor
        view.__dict__["_parameters"] = parameters
        if torch.compiler.is_dynamo_compiling():
            view.__dict__["_origin"] = self.__dict__.get("_origin", self)  # the engine looks for an object that exists
        return view

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{self.input_size}, {self.hidden_size}"
