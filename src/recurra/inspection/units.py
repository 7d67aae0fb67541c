"""Gates and units: results alone, until the measures are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recurra.errors import RecurraError

__all__ = ["GateHistogram", "UnitStory", "Units", "measure_units"]


@dataclass(frozen=True)
class GateHistogram:
    """How open a gate is."""

    layer: int
    gate: str
    edges: list[float]
    counts: list[int]
    stuck_closed: float
    stuck_open: float


@dataclass(frozen=True)
class UnitStory:
    """A unit that follows a feature of the text."""

    layer: int
    unit: int
    feature: str
    correlation: float
    tokens: list[str]
    activations: list[float]
    leaf: str


@dataclass(frozen=True)
class Units:
    """All of it."""

    gates: list[GateHistogram]
    stories: list[UnitStory]
    saturated: float | None


def measure_units(model: Any, tokens: Any, **options: Any) -> Units:
    """Not here yet."""
    raise RecurraError("not here yet")
