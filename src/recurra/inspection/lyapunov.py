"""Lyapunov exponents: results alone, until the measures are merged."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Lyapunov"]


@dataclass(frozen=True)
class Lyapunov:
    """Exponents in nats per step, largest first, and their standard errors."""

    exponents: list[float]
    errors: list[float]
    steps: int
