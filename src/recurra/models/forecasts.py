"""Forecasts out of what a forecaster says: means, quantiles, paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.models.distributions import LEVELS, Distribution, Placed, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Forecast", "Marginals", "Said", "Sampled", "calibrated_levels", "make_forecasts"]

MEAN_POINTS = 50
"""Quantiles whose average is the mean of a value whose logarithm is forecast."""

SAFE = 1e-3
"""No level is corrected to a quantile farther out than this: too few values lie there to tell."""


class Forecast(NamedTuple):
    """What a forecaster says of the next H steps.

    Args:
        times: (H,).
        mean: (H, D).
        quantiles: by level, (H, D) each.
        paths: (S, H, D) drawn, if asked for.
    """

    times: NDArray[Any]
    mean: NDArray[np.float64]
    quantiles: dict[float, NDArray[np.float64]]
    paths: NDArray[np.float64] | None


class Said:
    """What is said of values (H, B, D), in standard units."""

    def mean(self, own_units: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the means, in their own units."""
        raise NotImplementedError

    def quantile(self, levels: Tensor) -> Tensor:
        """Return quantiles (L, H, B, D)."""
        raise NotImplementedError

    def cdf(self, targets: Tensor) -> Tensor:
        """Return the probability of values up to the targets."""
        raise NotImplementedError


class Marginals(Said):
    """A distribution of each value."""

    def __init__(self, distribution: Distribution, placed: Placed) -> None:
        self._distribution = distribution
        self._placed = placed

    def mean(self, own_units: Callable[[Tensor], Tensor]) -> Tensor:
        """The average of many quantiles, which hold under any units."""
        device = self._placed.value.device
        points = (torch.arange(MEAN_POINTS, dtype=torch.float64, device=device) + 0.5) / MEAN_POINTS
        return own_units(self.quantile(points)).mean(0)

    def quantile(self, levels: Tensor) -> Tensor:
        """Of the distribution."""
        return self._distribution.quantile(self._placed, levels)

    def cdf(self, targets: Tensor) -> Tensor:
        """Of the distribution."""
        return self._distribution.cdf(self._placed, targets)


class Sampled(Said):
    """Paths (S, H, B, D) drawn from the joint distribution."""

    def __init__(self, placed: Placed, noise: Tensor, paths: int) -> None:
        values = placed.location + noise * spread(placed.raw[..., 1, :], placed.scale)
        self.paths = values.unflatten(1, (-1, paths)).movedim(2, 0)

    def mean(self, own_units: Callable[[Tensor], Tensor]) -> Tensor:
        """Of the paths."""
        return own_units(self.paths).mean(0)

    def quantile(self, levels: Tensor) -> Tensor:
        """Of the paths."""
        paths = self.paths.double().sort(0).values  # torch.quantile refuses more than 16 million numbers
        places = levels * (len(paths) - 1)
        below = places.long().clamp(max=len(paths) - 2)
        share = (places - below).reshape(-1, *[1] * (paths.ndim - 1))
        return torch.lerp(paths[below], paths[below + 1], share)

    def cdf(self, targets: Tensor) -> Tensor:
        """Share of paths below; the target counts as one of them, in the middle of its equals."""
        count = len(self.paths)
        below: Tensor = (self.paths < targets).sum(0)
        return (below + 0.5) / (count + 1)


def make_forecasts(
    said: Said, times: Sequence[NDArray[Any]], levels: Tensor, own_units: Callable[[Tensor], Tensor], paths: int
) -> list[Forecast]:
    """Return a forecast of each row.

    Args:
        levels: (L,) the quantiles that stand for `LEVELS`.
        paths: how many to give.
    """
    mean = _array(said.mean(own_units))
    quantiles = _array(own_units(said.quantile(levels)))
    drawn = _array(own_units(said.paths[:paths])) if paths and isinstance(said, Sampled) else None
    return [
        Forecast(
            time,
            mean[:, row],
            {level: quantiles[n, :, row] for n, level in enumerate(LEVELS)},
            None if drawn is None else drawn[:, :, row],
        )
        for row, time in enumerate(times)
    ]


def _array(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.double().cpu().numpy(), np.float64)


def calibrated_levels(probabilities: Tensor) -> Tensor:
    """Return for each level of `LEVELS` the quantile below which that share of values has fallen.

    Args:
        probabilities: those that were said of values up to what came.
    Source: Kuleshov, Fenner & Ermon 2018.
    """
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    found = np.quantile(_array(probabilities.flatten()), levels.numpy())
    return torch.from_numpy(found).clamp(SAFE, 1 - SAFE)
