"""Back-tests: forecasts from every origin of a part of the series, beside the simplest ways to forecast."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.config import check_at_least
from recurra.data.series import Windows
from recurra.errors import DataError
from recurra.evaluation.forecast_metrics import errors, interval_scores
from recurra.models import Forecaster
from recurra.models.distributions import LEVELS

__all__ = ["backtest", "baselines"]

Numbers = NDArray[np.float64]

POINTS = 5
"""Points that a straight line and a parabola go through."""


def backtest(
    model: Forecaster,
    windows: Windows,
    *,
    train: Windows | None = None,
    against: Windows | None = None,
    stride: int = 1,
    batch: int = 256,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Forecast from rolling origins, each from what was known there, and compare with what came.

    Args:
        windows: of the part to be tested; what they read may lie before it.
        train: the training part, which gives the units of mase and of standard_mse and standard_mae; default none.
        against: windows over the true values, where those that are read are observations of them.
        stride: from one origin to the next.
        batch: windows forecast side by side.
        seed: of drawn paths.
        progress: called with how many windows are done, and of how many.
    Returns: ``metrics`` (mse, rmse, mae, and with `train` mase, standard_mse and standard_mae; crps, pinball, and the
        coverage of the intervals of 90, 80 and 50 %), ``baselines`` by name, ``by_step`` (rmse of each step of the
        horizon), ``windows``, their number, and ``seconds``.
    Raises: DataError if there is no window.
    """
    check_at_least(1, stride=stride, batch=batch)
    if not len(windows) or (against is not None and len(against) != len(windows)):
        raise DataError(
            "there is no window to test on: the part is shorter than the horizon, or no context lies before"
            if not len(windows)
            else f"there are {len(windows)} windows, and {len(against or [])} of true values; use the same rows"
        )
    numbers = np.arange(0, len(windows), stride)
    started = time.perf_counter()
    means: list[Numbers] = []
    quantiles: list[list[Numbers]] = []
    pasts, futures = [], []
    for start in range(0, len(numbers), batch):
        chosen = numbers[start : start + batch]
        part = windows.batch(chosen)
        true = part if against is None else against.batch(chosen)
        for forecast in model.forecast_batch(part, [windows.times(number) for number in chosen], seed=seed):
            means.append(forecast.mean)
            quantiles.append([forecast.quantiles[level] for level in LEVELS])
        pasts.append(part.values[: part.context].numpy())
        futures.append(true.values[part.context :].numpy())
        if progress is not None:
            progress(min(start + batch, len(numbers)), len(numbers))
    came, mean = np.concatenate(futures, 1), np.stack(means, 1)
    said = {level: np.stack([one[n] for one in quantiles], 1) for n, level in enumerate(LEVELS)}
    simple = baselines(np.concatenate(pasts, 1), len(came), windows.format.season)
    past = None if train is None else [series.values for series in train.known()]
    season = windows.format.season
    return {
        "metrics": {**errors(mean, came, past, season), **interval_scores(said, came)},
        "baselines": {name: errors(forecast, came, past, season) for name, forecast in simple.items()},
        "by_step": [float(np.square(mean[step] - came[step]).mean() ** 0.5) for step in range(len(came))],
        "windows": len(numbers),
        "seconds": time.perf_counter() - started,
    }


def baselines(past: Numbers, horizon: int, season: int = 1) -> dict[str, Numbers]:
    """Forecast windows (C, ...) in the simplest ways, (horizon, ...) each.

    last value, constant velocity (the mean of the last four changes goes on) and parabola (least squares through the
    last five values); seasonal naive (the value a season before) where there is a season. What the window is too short
    for is left out.
    """
    ahead = np.arange(1, horizon + 1)
    steps = ahead.reshape(-1, *[1] * (past.ndim - 1))
    found = {"last value": np.broadcast_to(past[-1], (horizon, *past.shape[1:]))}
    if 1 < season <= len(past):
        found["seasonal naive"] = past[len(past) - season + (ahead - 1) % season]
    if len(past) >= POINTS:
        last = past[-POINTS:]
        found["constant velocity"] = last[-1] + steps * (last[-1] - last[0]) / (POINTS - 1)
        # The polynomial's value at times to come is linear in the points.
        basis = np.vander(np.arange(1 - POINTS, 1), 3)
        found["parabola"] = np.tensordot(np.vander(ahead, 3) @ np.linalg.pinv(basis), last, 1)
    return found
