"""The network over a few tokens: results alone, until the measures are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recurra.errors import RecurraError

__all__ = ["Unrolled", "measure_unrolled"]


@dataclass(frozen=True)
class Unrolled:
    """A few steps of a network."""

    tokens: list[str]
    targets: list[str]
    layers: list[str]
    window: int | None
    probabilities: list[float]
    gradients: list[list[float]]


def measure_unrolled(model: Any, tokens: Any, window: int | None, **options: Any) -> Unrolled:
    """Not here yet."""
    raise RecurraError("not here yet")
