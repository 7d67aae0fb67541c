"""Units: from the numbers of the data to numbers near 1 and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recurra.data.series import SeriesFormat, Windows
from recurra.errors import DataError

__all__ = ["Scaling", "Units"]

FLAT = 1e-9
"""Deviations below this part of a value are rounding."""


class Units(NamedTuple):
    """Zero and one of B rows, (B, D) float64, after the transform."""

    origin: Tensor
    unit: Tensor


class Scaling(nn.Module):
    """What the numbers are measured in: transform, origin and unit.

    Args:
        format: says what is transformed, and which covariates there are.
        relative: each row has an origin and a unit of its own, its last value and its deviation at the start; else the
            mean and deviation of the training part.
    """

    mean: Tensor
    deviation: Tensor
    movement: Tensor
    covariate_mean: Tensor
    covariate_deviation: Tensor

    def __init__(self, format: SeriesFormat, relative: bool) -> None:
        super().__init__()
        self.relative = relative
        self._log = format.transform == "log"
        self._given = len(format.covariates)  # the calendar's are sines, as they should be
        for name, size, value in (
            ("mean", len(format.targets), 0.0),
            ("deviation", len(format.targets), 1.0),
            ("movement", len(format.targets), 1.0),
            ("covariate_mean", format.num_features, 0.0),
            ("covariate_deviation", format.num_features, 1.0),
        ):
            self.register_buffer(name, torch.full((size,), value, dtype=torch.float64))

    def fit(self, windows: Windows) -> None:
        """Take mean, deviation and mean absolute change of the part that windows lie in."""
        known = windows.known()
        values = [self.transformed(torch.from_numpy(series.values)) for series in known]
        every = torch.cat(values)
        self.mean.copy_(every.mean(0))
        deviation = every.std(0, correction=0)
        deviation = torch.where(deviation > 0, deviation, 1)
        self.deviation.copy_(deviation)
        changes = torch.cat([value[1:] - value[:-1] for value in values])
        self.movement.copy_((changes / deviation).abs().mean(0))
        if self._given:
            covariates = torch.from_numpy(np.concatenate([series.covariates[: len(series)] for series in known]))
            deviation = covariates.std(0, correction=0)
            self.covariate_mean[: self._given] = covariates.mean(0)
            self.covariate_deviation[: self._given] = torch.where(deviation > 0, deviation, 1)

    def transformed(self, values: Tensor) -> Tensor:
        """Return values, or their logarithms. Raises: DataError for logarithms of numbers that have none."""
        if self._log and bool((values <= 0).any()):
            raise DataError(f"logarithms need numbers above 0, and {float(values.min()):g} is not; use transform none")
        return torch.log(values) if self._log else values

    def units(self, start: Tensor) -> Units:
        """Return the units of rows whose first values (R, B, D) are known."""
        if not self.relative:
            return Units(self.mean.expand(start.shape[1:]), self.deviation.expand(start.shape[1:]))
        values = self.transformed(start)
        deviation, origin = values.std(0, correction=0), values[-1]
        return Units(origin, torch.where(deviation > FLAT * origin.abs(), deviation, self.deviation))

    def standard(self, values: Tensor, units: Units, dtype: torch.dtype) -> Tensor:
        """Return values (..., B, D) of the data as the network sees them."""
        # In float64 until the origin is gone: small changes of large numbers must survive.
        return ((self.transformed(values.double()) - units.origin) / units.unit).to(dtype)

    def restored(self, values: Tensor, units: Units) -> Tensor:
        """Undo `standard`."""
        values = values.double() * units.unit + units.origin
        return torch.exp(values) if self._log else values

    def covariates(self, covariates: Tensor, dtype: torch.dtype) -> Tensor:
        """Return covariates (..., K) as the network sees them."""
        return ((covariates - self.covariate_mean) / self.covariate_deviation).to(dtype)

    def start_movement(self, like: Tensor) -> Any:
        """Return the mean absolute change (D,) that stands for every row; None where each has its own."""
        return None if self.relative else self.movement.to(like.dtype)
