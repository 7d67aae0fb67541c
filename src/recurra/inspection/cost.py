"""What a window costs: results alone, until the measures are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recurra.errors import RecurraError

__all__ = ["Cost", "CostPoint", "measure_cost"]


@dataclass(frozen=True)
class CostPoint:
    """A window and what it costs."""

    window: int
    memory_bytes: int
    predicted_bytes: int
    seconds_per_token: float
    loss_bytes: int


@dataclass(frozen=True)
class Cost:
    """All of it."""

    rows: int
    points: list[CostPoint]


def measure_cost(model: Any, tokens: Any, **options: Any) -> Cost:
    """Not here yet."""
    raise RecurraError("not here yet")
