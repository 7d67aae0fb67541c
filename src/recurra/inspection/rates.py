"""Does it grow or fade: the rate of a quantity by lag, from the tail of its logarithm."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["NEUTRAL_NATS_PER_STEP", "fit_rate"]

NEUTRAL_NATS_PER_STEP = 0.03
"""Slopes nearer to 0 count as neutral: about as well as the rate of a random matrix is told by a hundred steps."""

LEAST_POINTS = 4
SMALLEST = 1e-25
"""Norms relative to that at lag 0 below which float32 has too few digits left."""


def fit_rate(norms: Tensor) -> tuple[float | None, str]:
    """Fit a line to the logarithm of norms (lags,) over their tail.

    The tail is the second half of the lags whose norm is a number that can be trusted. The first half holds the
    transient, in which a matrix whose eigenvectors are not orthogonal may grow or fade at any rate.

    Returns: (slope in nats per step, or None where fewer than four norms are left; "vanishing", "neutral" or
        "exploding").
    """
    usable = int((norms > SMALLEST).long().cumprod(0).sum())
    if usable < LEAST_POINTS:
        ends = bool((norms <= SMALLEST).any())
        return None, "vanishing" if ends else "neutral"
    tail = torch.arange(usable // 2, usable, dtype=torch.float64)
    if len(tail) < LEAST_POINTS:
        tail = torch.arange(usable - LEAST_POINTS, usable, dtype=torch.float64)
    logs = norms[tail.long()].double().log()
    away = tail - tail.mean()
    slope = float((away * logs).sum() / away.square().sum())
    if abs(slope) <= NEUTRAL_NATS_PER_STEP:
        return slope, "neutral"
    return slope, "exploding" if slope > 0 else "vanishing"
