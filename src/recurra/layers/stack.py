"""Cells on top of each other."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from recurra.config import check_probability
from recurra.engine import Policy, choose_path, scan
from recurra.errors import ConfigError, ShapeError, StateError
from recurra.layers.padding import zero_padding
from recurra.layers.regularisation import (
    LockedDropout,
    Zoneout,
    draw_weights,
    drop_weights,
    has_recurrent_weight,
    masked,
    weight_drop,
)
from recurra.layers.window_attention import WindowAttention
from recurra.state import map_leaves

__all__ = ["Stack", "StackNoise"]


class StackNoise(NamedTuple):
    """What is random in a stack and the same at all steps; None where nothing is dropped.

    Args:
        between: a mask (1, B, F) of the inputs of each layer.
        weights: a mask of the recurrent weights of each layer.
    """

    between: tuple[Tensor | None, ...]
    weights: tuple[Tensor | None, ...]


class Stack(nn.Module):
    """Layers of cells, each reading the outputs of the one below. A stack is itself a cell.

    All noise is drawn from torch's global generator, in training mode, and in `forward` only, or before it by `draw`.

    Args:
        cells: from the bottom up; anything with ``step`` and ``zero_state``. A layer may be a `Zoneout`.
        residual: add its input to the output of every layer where both have the same size.
        dropout: probability of locked dropout between the layers, not after the last.
        weight_drop: probability that a recurrent weight is dropped, drawn once per call.
        zoneout: probability that an entry of the state is kept as it was, in every cell.
        attention: looks back at the outputs of the last cell, and at the inputs of the stack that followed them; no
            noise stands before it. Its state is the last of the stack's.
    Raises: ConfigError if an option can have no effect on these cells; ShapeError if their sizes do not fit.
    """

    def __init__(
        self,
        cells: Iterable[nn.Module],
        *,
        residual: bool = False,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout: float = 0.0,
        attention: WindowAttention | None = None,
    ) -> None:
        super().__init__()
        check_probability(dropout=dropout, weight_drop=weight_drop, zoneout=zoneout)
        self.cells = nn.ModuleList(Zoneout(cell, zoneout) if zoneout else cell for cell in cells)
        self.residual = residual
        self.dropout = LockedDropout(dropout)
        self.weight_drop = weight_drop
        self.zoneout = zoneout
        self.attention = attention
        self._check_cells()

    @property
    def num_layers(self) -> int:
        """Number of cells."""
        return len(self.cells)

    @property
    def num_states(self) -> int:
        """Number of states that are carried: one for each cell, and one for attention."""
        return self.num_layers + (self.attention is not None)

    @property
    def recurrence(self) -> Stack:
        """The stack without attention, which does nothing to the states of the cells."""
        view = copy.copy(self)
        view._modules = {**self._modules, "attention": None}
        return view

    @property
    def input_size(self) -> Any:
        """Features I of the inputs: those of the first cell, None if it does not tell."""
        return getattr(self.cells[0], "input_size", None)

    @property
    def output_size(self) -> Any:
        """Features O of the outputs: those of the last cell.

        Raises: ConfigError if that cell does not tell.
        """
        size = getattr(self.cells[-1], "output_size", None)
        if size is None:
            raise ConfigError(
                f"{type(self.cells[-1]).__name__} does not tell its size; give it the attribute output_size"
            )
        return size

    def zero_state(self, batch: int, backprop: Policy | None = None) -> tuple[Any, ...]:
        """Return the states that the cells, and attention, start from, a tuple from the bottom up.

        Args:
            backprop: with what that policy carries beside them.
        """
        parts = [*self._layers(), *([] if self.attention is None else [self.attention])]
        states = tuple(part.zero_state(batch) for part in parts)
        if backprop is None:
            return states
        return tuple(backprop.start(part, state) for part, state in zip(parts, states, strict=True))

    def draw(self, x: Tensor) -> StackNoise:
        """Draw what is locked over time for inputs like x (T, B, I): to be given to `forward` as often as one likes."""
        between: list[Tensor | None] = [None]
        weights: list[Tensor | None] = []
        widths = self._widths(x) if self.training and self.dropout.p else ()
        for layer, cell in enumerate(self._layers()):
            if layer:
                between.append(self.dropout.draw(x, widths[layer - 1]) if widths else None)
            weights.append(draw_weights(cell, self.weight_drop) if self.training and self.weight_drop else None)
        return StackNoise(tuple(between), tuple(weights))

    def forward(
        self,
        x: Tensor,
        state: tuple[Any, ...] | None = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        backprop: Policy | None = None,
        backend: str | Sequence[str] = "auto",
        noise: StackNoise | None = None,
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """Run all layers over x (T, B, I), one `scan` each; all arguments as there.

        Args:
            backend: of all layers, or one for each. Attention takes its steps one by one where the last layer does.
            noise: what is locked over time, from `draw`; default drawn here.
        Returns: (outputs (T, B, O) of the last layer, the states of the layers).
        Raises: BackpropError if the policy cannot go through several layers.
        """
        if backprop is not None:
            backprop.check_layers(self.num_states)
        if state is None:
            state = (None,) * self.num_states
        self._check_state(state)
        states, bottom = [], x
        backends = (backend,) * self.num_layers if isinstance(backend, str) else backend
        for layer, (cell, start, path) in enumerate(
            zip(self._layers(), state[: self.num_layers], backends, strict=True)
        ):
            if layer:
                x = masked(x, noise.between[layer]) if noise else self.dropout(x)
            if noise:
                cell = drop_weights(cell, noise.weights[layer])
            elif self.weight_drop and self.training:
                cell = weight_drop(cell, self.weight_drop)
            inputs = cell.draw(x) if isinstance(cell, Zoneout) else x
            outputs, end = scan(cell, inputs, start, lengths=lengths, reset=reset, backprop=backprop, backend=path)
            if self.residual and lengths is not None and not layer:
                x = zero_padding(x, lengths)
            x = self._connect(x, outputs)
            states.append(end)
        if self.attention is not None:
            path = "loop" if backends[-1] == "loop" else "auto"
            inputs = torch.cat([x, bottom], -1)
            x, end = scan(
                self.attention, inputs, state[-1], lengths=lengths, reset=reset, backprop=backprop, backend=path
            )
            states.append(end)
        return x, tuple(states)

    def step(self, x: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """Advance one time step without noise: x (B, I) and the states of the layers -> output (B, O), next states."""
        self._check_state(state)
        states, bottom = [], x
        for cell, old in zip(self._layers(), state[: self.num_layers], strict=True):
            output, new = cell.step(x, old)
            x = self._connect(x, output)
            states.append(new)
        if self.attention is not None:
            x, new = self.attention.step(torch.cat([x, bottom], -1), state[-1])
            states.append(new)
        return x, tuple(states)

    @torch.no_grad()
    def paths(self, x: Tensor) -> tuple[str, ...]:
        """Return the backend that "auto" is for each layer when it is trained on inputs like x (T, B, I)."""
        found = []
        with torch.random.fork_rng():
            for cell in self._layers():
                inputs = cell.draw(x) if isinstance(cell, Zoneout) else x
                state = cell.zero_state(x.shape[1])
                with torch.enable_grad():
                    found.append(choose_path(cell, inputs, state).backend)
                output, _ = cell.step(map_leaves(lambda leaf: leaf[0], inputs), state)
                x = self._connect(x, output.expand(len(x), *output.shape))
        return tuple(found)

    @torch.no_grad()
    def _widths(self, x: Tensor) -> tuple[int, ...]:
        """Return the features that each layer gives: told by its cell, or seen in a step."""
        told = [getattr(cell, "output_size", None) for cell in self._layers()]
        if None not in told:
            return tuple(told)  # type: ignore[arg-type]
        x, widths = x[0, :1], []
        with torch.random.fork_rng():
            for cell in self._layers():
                output, _ = cell.step(x, cell.zero_state(1))
                x = self._connect(x, output)
                widths.append(x.shape[-1])
        return tuple(widths)

    def _layers(self) -> Iterator[Any]:
        return iter(self.cells)

    def _connect(self, x: Tensor, output: Tensor) -> Tensor:
        return x + output if self.residual and x.shape == output.shape else output

    def _check_state(self, state: tuple[Any, ...]) -> None:
        if not isinstance(state, tuple) or len(state) != self.num_states:
            beside = "" if self.attention is None else " and one of attention"
            raise StateError(f"the state of this stack is a tuple of {self.num_states} states, one per layer{beside}")

    def _check_cells(self) -> None:
        """A user's cell need not tell its sizes; what is told must fit."""
        if not self.num_layers:
            raise ConfigError("a stack needs at least one cell")
        sizes = [(getattr(cell, "input_size", None), getattr(cell, "output_size", None)) for cell in self.cells]
        for layer, ((_, below), (above, _)) in enumerate(pairwise(sizes), start=1):
            if below is not None and above is not None and below != above:
                raise ShapeError(f"layer {layer} reads {above} features, but the layer below it gives {below}")
        if self.attention is not None:
            told = (
                (sizes[-1][1], self.attention.size, "the last layer"),
                (sizes[0][0], self.attention.values, "the input"),
            )
            for found, wanted, what in told:
                if found is not None and found != wanted:
                    raise ShapeError(f"attention reads {wanted} features of {what}, which has {found}")
        if self.residual and all(i is not None and o is not None and i != o for i, o in sizes):
            raise ConfigError(f"residual connections need a layer with inputs and outputs of one size; found {sizes}")
        if self.weight_drop and not all(map(has_recurrent_weight, self.cells)):
            raise ConfigError("weight_drop needs cells with a recurrent weight U; one of these has none")
