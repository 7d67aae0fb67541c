"""How gradients travel back through time: results alone, until the measures are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recurra.errors import RecurraError

__all__ = ["Flow", "LayerFlow", "PromptFlow", "TruncationError", "measure_flow"]


@dataclass(frozen=True)
class LayerFlow:
    """The gradient of a loss at the states of a layer before it."""

    layer: int
    lags: list[int]
    norms: list[float]
    low: list[float]
    high: list[float]
    slope_nats_per_step: float | None
    rate: str


@dataclass(frozen=True)
class TruncationError:
    """A gradient that is cut after `window` steps, against the whole."""

    window: int
    cosine: float
    relative_error: float


@dataclass(frozen=True)
class PromptFlow:
    """The gradient at each token of a prompt."""

    tokens: list[str]
    norms: list[float]
    words: list[str]
    word_norms: list[float]
    predicted: str


@dataclass(frozen=True)
class Flow:
    """All of it."""

    layers: list[LayerFlow]
    effective_memory: float
    fades_at: int | None
    truncation: list[TruncationError]
    prompt: PromptFlow | None
    positions: int


def measure_flow(model: Any, tokens: Any, **options: Any) -> Flow:
    """Not here yet."""
    raise RecurraError("not here yet")
