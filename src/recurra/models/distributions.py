"""What a forecaster says of a number: a distribution, placed by where the series is and how much it moves."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["DISTRIBUTIONS", "LEVELS", "Distribution", "Gaussian", "Placed", "Quantiles", "Student"]

LEVELS: tuple[float, ...] = tuple(round(0.05 * n, 2) for n in range(1, 20))
"""The quantiles of a forecast: intervals of 50, 80 and 90 % are among them."""

NARROWEST, WIDEST = -7.0, 7.0
"""Bounds of the logarithm of a spread, in units of the scale."""


class Placed(NamedTuple):
    """Distributions of numbers.

    Args:
        value, scale: (..., D), the value before and what is one step's usual movement; the unit of `raw`.
        raw: (..., P, D) as the network gave them.
    """

    value: Tensor
    scale: Tensor
    raw: Tensor

    @property
    def location(self) -> Tensor:
        """Mean, or median of quantiles, (..., D)."""
        return self.value + self.scale * self.raw[..., 0, :]


class Distribution:
    """A family of distributions of one number.

    Attributes:
        size: numbers P that say which; the first is the location, the second, if `spreads`, the logarithm of the
            spread.
        narrow: what all numbers but the first are near at the start: a third of the scale, one step's movement.
        spreads: whether a value can be drawn as location + spread · noise.
    """

    size: ClassVar[int]
    narrow: ClassVar[float] = -1.0
    spreads: ClassVar[bool] = True

    def nats(self, placed: Placed, targets: Tensor) -> Tensor:
        """Return -ln p(target), (..., D); what has no density gives its own loss."""
        raise NotImplementedError

    def cdf(self, placed: Placed, targets: Tensor) -> Tensor:
        """Return the probability of values up to the targets (..., D)."""
        raise NotImplementedError

    def quantile(self, placed: Placed, level: Tensor) -> Tensor:
        """Return the values (L, ..., D) that are not exceeded with the probabilities (L,)."""
        raise NotImplementedError

    def noise(self, *shape: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw standard noise."""
        raise NotImplementedError


def spread(raw: Tensor, scale: Tensor) -> Tensor:
    """Return the spread (..., D) that its raw logarithm means."""
    return scale * torch.exp(torch.clamp(raw, NARROWEST, WIDEST))


class Gaussian(Distribution):
    """Normal distribution: location and standard deviation."""

    size = 2

    def nats(self, placed: Placed, targets: Tensor) -> Tensor:
        """``ln σ + z²/2 + ln(2π)/2``."""
        width, z = _standard(placed, targets)
        return torch.log(width) + 0.5 * z * z + 0.5 * math.log(2 * math.pi)

    def cdf(self, placed: Placed, targets: Tensor) -> Tensor:
        """Of the normal distribution."""
        found: Tensor = torch.special.ndtr(_standard(placed, targets)[1])
        return found

    def quantile(self, placed: Placed, level: Tensor) -> Tensor:
        """Of the normal distribution."""
        return _stretched(placed, torch.special.ndtri(level))

    def noise(self, *shape: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal."""
        return torch.randn(*shape, generator=generator)


class Student(Distribution):
    """Student's t of four degrees of freedom, whose tails are heavy: location and spread.

    Four, because its quantiles have a closed form.
    Source: Shaw 2006, Sampling Student's T distribution.
    """

    size = 2

    def nats(self, placed: Placed, targets: Tensor) -> Tensor:
        """``ln σ + 5/2 ln(1 + z²/4) + ln(8/3)``."""
        width, z = _standard(placed, targets)
        return torch.log(width) + 2.5 * torch.log1p(z * z / 4) + math.log(8 / 3)

    def cdf(self, placed: Placed, targets: Tensor) -> Tensor:
        """``1/2 + 3/8 u (1 - u²/12)`` with ``u = z / √(1 + z²/4)``."""
        z = _standard(placed, targets)[1]
        u = z / torch.sqrt(1 + z * z / 4)
        return 0.5 + 0.375 * u * (1 - u * u / 12)

    def quantile(self, placed: Placed, level: Tensor) -> Tensor:
        """``± 2 √(cos(arccos(√a) / 3) / √a - 1)`` with ``a = 4 p (1 - p)``."""
        return _stretched(placed, _student_quantile(level))

    def noise(self, *shape: int, generator: torch.Generator | None = None) -> Tensor:
        """By its quantiles of uniform numbers."""
        uniform = torch.rand(*shape, generator=generator, dtype=torch.float64)
        return _student_quantile(uniform.clamp(1e-12, 1 - 1e-12)).to(torch.get_default_dtype())


class Quantiles(Distribution):
    """The quantiles of `LEVELS`, which never cross: the median, and how far the others lie from it and each other."""

    size = len(LEVELS)
    narrow = -3.0
    spreads = False

    def values(self, placed: Placed) -> Tensor:
        """Return the quantiles (L, ..., D), rising."""
        middle = len(LEVELS) // 2
        raw = placed.raw.movedim(-2, 0)
        gaps = softplus(raw[1:])
        below, above = gaps[:middle].cumsum(0).flip(0), gaps[middle:].cumsum(0)
        offsets = torch.cat([raw[:1] - below, raw[:1], raw[:1] + above])
        return placed.value + placed.scale * offsets

    def nats(self, placed: Placed, targets: Tensor) -> Tensor:
        """Twice the mean pinball loss in units of the scale, which approximates the CRPS."""
        missed = (targets - self.values(placed)) / placed.scale
        level = torch.tensor(LEVELS, dtype=missed.dtype, device=missed.device).reshape(-1, *[1] * (missed.ndim - 1))
        return 2 * torch.maximum(level * missed, (level - 1) * missed).mean(0)

    def cdf(self, placed: Placed, targets: Tensor) -> Tensor:
        """Straight lines between the quantiles; beyond them, the lines of the last two, at most 0 and 1."""
        values = self.values(placed)
        level = torch.tensor(LEVELS, dtype=values.dtype, device=values.device)
        upper = (values <= targets).sum(0).clamp(1, len(LEVELS) - 1)
        low, high = (values.gather(0, (upper - k).unsqueeze(0)).squeeze(0) for k in (1, 0))
        share = (targets - low) / (high - low).clamp(min=torch.finfo(values.dtype).tiny)
        return (level[upper - 1] + share * (level[upper] - level[upper - 1])).clamp(0, 1)

    def quantile(self, placed: Placed, level: Tensor) -> Tensor:
        """Straight lines between the quantiles, and on beyond them."""
        values = self.values(placed)
        known = torch.tensor(LEVELS, dtype=level.dtype, device=level.device)
        upper = torch.searchsorted(known, level).clamp(1, len(LEVELS) - 1)
        share = _column((level - known[upper - 1]) / (known[upper] - known[upper - 1]), placed.value)
        return values[upper - 1] + share.to(values.dtype) * (values[upper] - values[upper - 1])


DISTRIBUTIONS: dict[str, type[Distribution]] = {"gaussian": Gaussian, "student": Student, "quantiles": Quantiles}


def _standard(placed: Placed, targets: Tensor) -> tuple[Tensor, Tensor]:
    width = spread(placed.raw[..., 1, :], placed.scale)
    return width, (targets - placed.location) / width


def _stretched(placed: Placed, standard: Tensor) -> Tensor:
    width = spread(placed.raw[..., 1, :], placed.scale)
    return placed.location + _column(standard, width).to(width.dtype) * width


def _column(levels: Tensor, like: Tensor) -> Tensor:
    return levels.reshape(-1, *[1] * like.ndim)


def _student_quantile(level: Tensor) -> Tensor:
    root = torch.sqrt(4 * level * (1 - level))
    size = 2 * torch.sqrt((torch.cos(torch.acos(root.clamp(max=1)) / 3) / root - 1).clamp(min=0))
    return torch.sign(level - 0.5) * size
