"""Initial weights by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from recurra.config import check_choice
from recurra.errors import ConfigError

__all__ = ["INITIALISERS", "initialise"]


def _uniform(block: Tensor) -> None:
    bound = block.shape[0] ** -0.5
    nn.init.uniform_(block, -bound, bound)


def _identity(block: Tensor) -> None:
    if block.shape[0] != block.shape[1]:
        raise ConfigError(f"weights of shape {tuple(block.shape)} cannot start as the identity; use 'orthogonal'")
    nn.init.eye_(block)


INITIALISERS: dict[str, Callable[[Tensor], Any]] = {
    "identity": _identity,
    "orthogonal": nn.init.orthogonal_,
    "uniform": _uniform,
    "xavier": nn.init.xavier_uniform_,
    "zeros": nn.init.zeros_,
}
OF_VECTORS = ("uniform", "zeros")


def initialise(cell: Any, *, W: str | None = None, U: str | None = None) -> None:
    """Draw the input weights W and the recurrent weights U of a cell anew, each gate's block of H rows by itself.

    Where U is block-diagonal, each head's part of a gate is drawn by itself. One weight per unit, as in the IndRNN, can
    start uniform or at zero only.

    Args:
        W, U: "uniform" (±1/√H, as torch.nn), "xavier", "orthogonal", "identity", "zeros", or None to leave as is.
    Raises: ConfigError for an unknown name, a cell without such weights, an identity that would not be square, or a
        vector that would have to be a matrix.
    Source: Glorot & Bengio 2010 (xavier); Saxe et al. 2014 (orthogonal); Le et al. 2015 (identity).
    """
    for symbol, name in (("W", W), ("U", U)):
        if name is None:
            continue
        check_choice(INITIALISERS, initialiser=name)
        weights = getattr(cell, symbol, None)
        if weights is None:
            raise ConfigError(f"{type(cell).__name__} has no weights {symbol} to initialise")
        if weights.ndim < 2 and name not in OF_VECTORS:
            raise ConfigError(
                f"{symbol} of {type(cell).__name__} is one weight per unit, not a matrix that could start '{name}'; "
                f"use {' or '.join(OF_VECTORS)}"
            )
        for matrix in weights.detach().unbind() if weights.ndim > 2 else [weights.detach()]:
            for block in matrix.chunk(getattr(cell, "gates", 1)):
                INITIALISERS[name](block)
