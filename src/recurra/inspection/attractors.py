"""Behaviour: results alone, until the measures are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recurra.errors import RecurraError

__all__ = ["Behaviour", "FixedPoint", "measure_behaviour"]


@dataclass(frozen=True)
class FixedPoint:
    """A state that a step leaves where it is."""

    state: list[float]
    speed: float
    stable: bool
    largest_eigenvalue: float
    input: str


@dataclass(frozen=True)
class Behaviour:
    """What a network does under an input that stays the same."""

    input: str
    kind: str
    points: list[FixedPoint]
    period: int | None
    trajectories: list[list[tuple[float, float]]]
    explained: float
    places: list[tuple[float, float]]
    exponent: float | None


def measure_behaviour(model: Any, tokens: Any, **options: Any) -> list[Behaviour]:
    """Not here yet."""
    raise RecurraError("not here yet")
