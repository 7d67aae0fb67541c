"""What a window costs: the memory that its graph keeps, and the time that its gradient takes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.config import check_at_least
from recurra.errors import ConfigError
from recurra.inspection.kept import kept_bytes
from recurra.inspection.reading import quiet, read_tokens, trained
from recurra.models import LanguageModel

__all__ = ["Cost", "CostPoint", "measure_cost"]

REPEATS = 3
LONG_S = 1.0
"""A pass that takes longer is timed once: it is its own average."""

MOST_OF_MEMORY = 0.5
"""Share of the free memory that a graph may be expected to take; longer windows are left out."""


@dataclass(frozen=True)
class CostPoint:
    """What one window costs.

    Args:
        window: steps.
        memory_bytes: that the layers' graph of the window keeps for its backward pass, from the embedding to the
            features of the last layer, as `recurra.inspection.kept` counts them.
        predicted_bytes: of these, by the line through the two shortest windows.
        seconds_per_token: forward and backward, the median of three passes; of a pass over a second long, that one.
        loss_bytes: what the output layer and the loss keep on top, which grows with the tokens that are predicted at
            once, not with how far gradients travel.
    """

    window: int
    memory_bytes: int
    predicted_bytes: int
    seconds_per_token: float
    loss_bytes: int


@dataclass(frozen=True)
class Cost:
    """What windows cost, by their length, for a number of rows; ascending."""

    rows: int
    points: list[CostPoint]


def measure_cost(model: LanguageModel, tokens: Any, *, rows: int, windows: Sequence[int] = (16, 64, 256, 1024)) -> Cost:
    """Measure what gradients over windows of several lengths cost, without the noise of training.

    Dropout, where a model is trained with it, keeps its masked inputs as well: one array of (T, B, features) for each.

    Args:
        tokens: (N,) int64, read again from the start where they are too few.
        rows: of a batch.
        windows: steps. One that is expected to keep more than half of the free memory is left out.
    Raises: CorpusError for a text without tokens; ConfigError if nothing is trained.
    """
    check_at_least(1, rows=rows, **{f"windows[{n}]": window for n, window in enumerate(windows)})
    ids = read_tokens(model, tokens, least=1)
    if not trained(model):
        raise ConfigError("the gradient of this model costs nothing: none of its parameters is trained")
    points: list[CostPoint] = []
    with quiet(model):
        for window in sorted(set(windows)):
            expected = _predict(points, window)
            if expected is not None and expected > MOST_OF_MEMORY * _free_bytes():
                break
            memory, loss, seconds = _measure(model, _take(ids, rows, window + 1))
            predicted = memory if len(points) < 2 or expected is None else expected
            points.append(CostPoint(window, memory, predicted, seconds / (rows * window), loss))
    return Cost(rows, points)


def _predict(points: list[CostPoint], window: int) -> int | None:
    """Continue the line through the first two points; a single one gives a line through 0."""
    if not points:
        return None
    a = points[0]
    if len(points) == 1:
        return a.memory_bytes * window // a.window
    b = points[1]
    return a.memory_bytes + (b.memory_bytes - a.memory_bytes) * (window - a.window) // (b.window - a.window)


def _free_bytes() -> float:
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # not every system tells
        return float("inf")


def _take(ids: Tensor, rows: int, length: int) -> Tensor:
    needed = rows * length
    return ids.repeat(-(-needed // len(ids)))[:needed].reshape(rows, length).t().contiguous()


def _measure(model: LanguageModel, text: Tensor) -> tuple[int, int, float]:
    """Return the bytes that layers and loss of a text (T+1, B) keep, and the seconds of a pass; the first warms up."""
    ours = [*model.parameters(), *model.buffers(), text]
    layers, whole, _ = _pass(model, text, ours)
    times: list[float] = []
    while len(times) < REPEATS and (not times or times[0] < LONG_S):
        times.append(_pass(model, text, None)[2])
    return layers, whole - layers, statistics.median(times)


def _pass(model: LanguageModel, text: Tensor, ours: list[Tensor] | None) -> tuple[int, int, float]:
    """Return bytes kept by the layers, by layers and loss, and seconds; bytes only where told what not to count."""
    start, layers, whole = time.perf_counter(), 0, 0
    with torch.enable_grad():
        features, _ = model.features(text[:-1])
        nats = model.nats(features.raw, text[1:])
    if ours is not None:
        layers, whole = (kept_bytes(result, apart_from=ours) for result in (features.raw, nats))
    torch.autograd.grad(nats, trained(model), allow_unused=True)
    return layers, whole, time.perf_counter() - start
