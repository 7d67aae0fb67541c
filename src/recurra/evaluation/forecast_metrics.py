"""How far forecasts are from what came, and whether they were as sure as they should have been."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["INTERVALS", "crps_of_paths", "crps_of_quantiles", "errors", "interval_scores", "naive_error", "pinball"]

Numbers = NDArray[np.float64]

WIDE = 90
INTERVALS: dict[int, tuple[float, float]] = {WIDE: (0.05, 0.95), 80: (0.1, 0.9), 50: (0.25, 0.75)}
"""Central intervals in per cent, and the levels they lie between."""


def errors(forecast: Numbers, came: Numbers, past: list[Numbers] | None = None, season: int = 1) -> dict[str, float]:
    """Return mse, rmse and mae of forecasts (..., D); given what was trained on, also what has no unit.

    Args:
        past: series (N, D) of the training part: mase is measured in their mean absolute change over a season,
            standard_mse and standard_mae in their standard deviation, target by target.
    """
    missed = forecast - came
    found = {"mse": float(np.square(missed).mean()), "mae": float(np.abs(missed).mean())}
    found["rmse"] = found["mse"] ** 0.5
    if past is not None:
        unit = np.maximum(np.concatenate(past).std(0), np.finfo(np.float64).tiny)
        found["mase"] = float((np.abs(missed) / naive_error(past, season)).mean())
        found["standard_mse"] = float(np.square(missed / unit).mean())
        found["standard_mae"] = float(np.abs(missed / unit).mean())
    return found


def naive_error(series: list[Numbers], season: int) -> Numbers:
    """Return the mean absolute change over a season in series (N, D), (D,): the unit of mase.

    Source: Hyndman & Koehler 2006.
    """
    changes = [np.abs(values[season:] - values[:-season]) for values in series if len(values) > season]
    every = np.concatenate(changes) if changes else np.ones((1, series[0].shape[1]))
    return np.asarray(np.maximum(every.mean(0), np.finfo(np.float64).tiny), np.float64)


def pinball(level: float, quantile: Numbers, came: Numbers) -> Numbers:
    """Return the pinball loss: what is missed, weighted by `level` from below and by 1 - `level` from above."""
    missed = came - quantile
    return np.asarray(np.maximum(level * missed, (level - 1) * missed), np.float64)


def crps_of_quantiles(quantiles: Mapping[float, Numbers], came: Numbers) -> float:
    """Return the continuous ranked probability score, twice the pinball loss integrated over the levels.

    By trapezia between levels, the loss being 0 at 0 and 1.
    Source: Gneiting & Raftery 2007.
    """
    levels = np.array([0.0, *sorted(quantiles), 1.0])
    losses = [0.0, *(float(pinball(level, quantiles[level], came).mean()) for level in sorted(quantiles)), 0.0]
    return float(2 * np.trapezoid(losses, levels))


def crps_of_paths(paths: Numbers, came: Numbers) -> float:
    """Return the same of samples (S, ...): ``E|X - y| - E|X - X'| / 2``, the second without bias.

    Source: Gneiting & Raftery 2007; the sum over pairs by ranks.
    """
    count = len(paths)
    rank = np.arange(1, count + 1).reshape(-1, *[1] * came.ndim)
    pairs = ((2 * rank - count - 1) * np.sort(paths, 0)).sum(0) / max(count * (count - 1), 1)
    return float((np.abs(paths - came).mean(0) - pairs).mean())


def interval_scores(quantiles: Mapping[float, Numbers], came: Numbers) -> dict[str, float]:
    """Return crps, mean pinball loss, and the share of values within intervals.

    That of 90 % is called coverage, the narrower ones coverage_80 and coverage_50.
    """
    losses = [pinball(level, quantile, came).mean() for level, quantile in quantiles.items()]
    found: dict[str, Any] = {"crps": crps_of_quantiles(quantiles, came), "pinball": float(np.mean(losses))}
    for share, (low, high) in INTERVALS.items():
        within = (quantiles[low] <= came) & (came <= quantiles[high])
        found["coverage" if share == WIDE else f"coverage_{share}"] = float(within.mean())
    return found
