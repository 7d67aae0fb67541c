"""Layers that read both ways."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from recurra.config import check_probability
from recurra.engine import Policy, scan
from recurra.errors import ConfigError, ShapeError, StateError
from recurra.layers.regularisation import LockedDropout, has_recurrent_weight, weight_drop

__all__ = ["Bidirectional"]


class Bidirectional(nn.Module):
    """Layers of two cells, one reading forwards and one backwards; the layer above reads both.

        outputs_t = [forward_t; backward_t],    forward_t = f(x_1 … x_t),    backward_t = g(x_T … x_t)

    It is no cell: what a step gives depends on all that follows.

    Args:
        pairs: a forward and a backward cell for each layer, from the bottom up; above the first layer they read the
            outputs of both below.
        dropout: probability of locked dropout between the layers, not after the last.
        weight_drop: probability that a recurrent weight is dropped, drawn once per call.
    Raises: ConfigError if a cell has no recurrent weight to drop; ShapeError if sizes do not fit.
    Source: Schuster & Paliwal 1997; Graves & Schmidhuber 2005.
    """

    def __init__(
        self, pairs: Iterable[tuple[nn.Module, nn.Module]], *, dropout: float = 0.0, weight_drop: float = 0.0
    ) -> None:
        super().__init__()
        check_probability(dropout=dropout, weight_drop=weight_drop)
        pairs = list(pairs)
        self.forwards = nn.ModuleList(forward for forward, _ in pairs)
        self.backwards = nn.ModuleList(backward for _, backward in pairs)
        self.dropout = LockedDropout(dropout)
        self.weight_drop = weight_drop
        self._check_cells()

    @property
    def num_layers(self) -> int:
        """Number of pairs."""
        return len(self.forwards)

    @property
    def input_size(self) -> Any:
        """Features I of the inputs: those of the first pair, None if it does not tell."""
        return getattr(self.forwards[0], "input_size", None)

    @property
    def output_size(self) -> int:
        """Features O of the outputs: those of the last layer's two cells.

        Raises: ConfigError if one of them does not tell.
        """
        pair = self.forwards[-1], self.backwards[-1]
        size = _both(pair)
        if size is None:
            names = " or ".join(type(cell).__name__ for cell in pair)
            raise ConfigError(f"{names} does not tell its size; give it the attribute output_size")
        return size

    def zero_state(self, batch: int) -> tuple[tuple[Any, Any], ...]:
        """Return the states that the cells start from: a pair (forward, backward) for each layer."""
        return tuple(tuple(cell.zero_state(batch) for cell in pair) for pair in self._layers())

    def forward(
        self,
        x: Tensor,
        state: tuple[tuple[Any, Any], ...] | None = None,
        *,
        lengths: Tensor | None = None,
        backprop: Policy | None = None,
        backend: str = "auto",
    ) -> tuple[Tensor, tuple[tuple[Any, Any], ...]]:
        """Run all layers over x (T, B, I), two scans each; arguments as in `recurra.scan`.

        Args:
            state: of each layer (forward, backward); the backward one starts at the last valid step of a row.
        Returns: (outputs (T, B, O) of the last layer, forward half first; the states after reading: the forward one at
            the last valid step of a row, the backward one at its first).
        Raises: BackpropError if the policy cannot go through several layers.
        """
        if backprop is not None:
            backprop.check_layers(self.num_layers)
        if state is None:
            state = ((None, None),) * self.num_layers
        if not isinstance(state, tuple) or len(state) != self.num_layers or any(len(pair) != 2 for pair in state):
            raise StateError(f"the state of these layers is a tuple of {self.num_layers} pairs (forward, backward)")
        ends = []
        for layer, (pair, starts) in enumerate(zip(self._layers(), state, strict=True)):
            x = self.dropout(x) if layer else x
            outputs, end = zip(
                *(
                    scan(
                        weight_drop(cell, self.weight_drop, self.training) if self.weight_drop else cell,
                        x,
                        start,
                        lengths=lengths,
                        reverse=reverse,
                        backprop=backprop,
                        backend=backend,
                    )
                    for cell, start, reverse in zip(pair, starts, (False, True), strict=True)
                ),
                strict=True,
            )
            x = torch.cat(outputs, -1)
            ends.append(end)
        return x, tuple(ends)

    def _layers(self) -> Iterable[tuple[Any, Any]]:
        return zip(self.forwards, self.backwards, strict=True)

    def _check_cells(self) -> None:
        """A user's cell need not tell its sizes; what is told must fit."""
        if not self.num_layers:
            raise ConfigError("layers that read both ways need at least one pair of cells")
        below = None
        for layer, pair in enumerate(self._layers()):
            for cell in pair:
                reads = getattr(cell, "input_size", None)
                if None not in (below, reads) and below != reads:
                    raise ShapeError(f"layer {layer} reads {reads} features, but what is below it gives {below}")
                below = reads if below is None else below
                if self.weight_drop and not has_recurrent_weight(cell):
                    raise ConfigError("weight_drop needs cells with a recurrent weight U; one of these has none")
            below = _both(pair)


def _both(pair: tuple[Any, Any]) -> int | None:
    """Return the features that two cells give together; None if one does not tell."""
    sizes = [getattr(cell, "output_size", None) for cell in pair]
    return None if None in sizes else sum(sizes)  # type: ignore[arg-type]
