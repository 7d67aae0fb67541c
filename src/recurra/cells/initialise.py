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


def initialise(cell: Any, *, W: str | None = None, U: str | None = None) -> None:
    """Draw the input weights W and the recurrent weights U of a cell anew, each gate's block of H rows by itself.

    Args:
        W, U: "uniform" (±1/√H, as torch.nn), "xavier", "orthogonal", "identity", "zeros", or None to leave as is.
    Raises: ConfigError for an unknown name, a cell without such weights, or an identity that would not be square.
    Source: Glorot & Bengio 2010 (xavier); Saxe et al. 2014 (orthogonal); Le et al. 2015 (identity).
    """
    for symbol, name in (("W", W), ("U", U)):
        if name is None:
            continue
        check_choice(INITIALISERS, initialiser=name)
        weights = getattr(cell, symbol, None)
        if weights is None:
            raise ConfigError(f"{type(cell).__name__} has no weights {symbol} to initialise")
        for block in weights.detach().chunk(getattr(cell, "gates", 1)):
            INITIALISERS[name](block)
