"""One quantity of a run over its steps, from the rows of metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Row", "Series", "first_failure", "read_series", "setbacks", "smoothed"]

Row = Mapping[str, Any]


class Series(NamedTuple):
    """Steps in rising order, and a finite value at each."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]


def read_series(rows: Sequence[Row], key: str) -> Series:
    """Collect a quantity from the rows that have it; values that are not finite are left out."""
    points = [(row["step"], value) for row in rows if _is_finite(value := row.get(key))]
    points.sort()
    return Series(*np.array(points, np.float64).reshape(-1, 2).T)


def first_failure(rows: Sequence[Row], key: str) -> int | None:
    """Return the first step whose value is not a finite number, or None."""
    return next((int(row["step"]) for row in rows if row.get(key) is not None and not _is_finite(row[key])), None)


def setbacks(rows: Sequence[Row]) -> list[Row]:
    """Return what is told of each time that training went wrong: `step`, and where it went `back_to`, if it did."""
    return [row["setback"] for row in rows if "setback" in row]


def smoothed(series: Series, share: float = 0.04) -> Series:
    """Return the moving average over a share of the points; the window is centred, and shorter at both ends."""
    at = np.arange(len(series.steps))
    reach = int(len(at) * share / 2)
    before = np.minimum(reach, at)
    # The start of a run falls steeply: there the window reaches as little forward as it does back.
    after = np.minimum(before, len(at) - 1 - at)
    total = np.concatenate([[0.0], np.cumsum(series.values)])
    return Series(series.steps, (total[at + after + 1] - total[at - before]) / (before + after + 1))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
