"""What a state that is left to itself does: comes to rest, goes round, wanders, or grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.errors import DivergedError
from recurra.inspection.jacobian import StateMap
from recurra.inspection.lyapunov import growth_rates
from recurra.state import map_leaves

__all__ = ["KINDS", "LIMIT", "Orbits", "follow"]

KINDS = ("settles to a point", "oscillates", "is chaotic", "grows without bound")
LIMIT = 1e6
"""Length of a state beyond which it is taken to grow for ever."""
SHOWN, SEEN, STRETCH = 200, 256, 64
"""Steps at the start that are kept to be drawn, at the end to be judged, and between two looks."""
RESTING = 1e-7
"""Length of a step, as a share of 1 + |s|, at which a state has come to rest."""
CHAOS, SURE = 0.005, 3.0
"""A largest exponent counts as positive above this, in nats per step, and above so many of its standard errors."""
EXPONENT_STEPS, ALIGNING, STRETCHES = 300, 100, 8
EXACT, NEARLY = 1e-3, 0.25
"""Distance, as a share of the largest, at which an orbit has come back; for one that never does exactly."""
FADING = 0.9
"""Ratio of an orbit's last stretch to its first, in speed and in size, below which it is on its way to rest."""


@dataclass(frozen=True)
class Orbits:
    """Orbits of a map, by row.

    Args:
        kinds: of `KINDS`.
        periods: in steps; of an orbit that never comes back exactly, the time until it first nearly does.
        exponents: largest Lyapunov exponents, nats per step, of those that had not come to rest.
        shown: states at the first steps, (T, B, N), the start included.
        ends: states after the last, (B, N).
    """

    kinds: list[str]
    periods: list[int | None]
    exponents: list[float | None]
    shown: Tensor
    ends: Tensor


@torch.no_grad()
def follow(step: StateMap, x: Any, starts: Tensor, steps: int) -> Orbits:
    """Apply a map, with inputs x (B, ...) held, to starts (B, N), and judge what becomes of each row.

    What has not come to rest is chaotic if its largest exponent is above 0, else it oscillates if it comes back.
    """
    shown = step.walk(_held(x, min(SHOWN, steps)), starts)
    kinds, tail, done = _judge_rest(shown), shown, len(shown)
    while "" in kinds and done < steps:
        # whoever watches an orbit needs a long stretch of it, whoever waits for it to rest a short one
        stretch = SEEN if done + SEEN >= steps else min(STRETCH, steps - SEEN - done)
        tail = step.walk(_held(x, stretch), tail[-1])
        kinds, done = _judge_rest(tail), done + stretch
    moving = [row for row, kind in enumerate(kinds) if not kind]
    periods: list[int | None] = [None] * len(starts)
    exponents: list[float | None] = [None] * len(starts)
    if moving:
        index = torch.tensor(moving)
        rates = _largest(step, map_leaves(lambda leaf: leaf[index], x), tail[-1, index])
        for row, rate in zip(moving, rates.unbind(1), strict=True):
            kinds[row], periods[row] = _judge_motion(tail[:, row], rate)
            exponents[row] = float(rate.mean())
    return Orbits(kinds, periods, exponents, torch.cat([starts.unsqueeze(0), shown]), tail[-1])


def _judge_rest(states: Tensor) -> list[str]:
    """Tell of each row of the last states (T, B, N) whether it has settled or grown; it is nothing yet otherwise."""
    sizes = states[-1].norm(dim=1)
    speeds = (states[1:] - states[:-1])[-4:].norm(dim=2)
    at_rest = ((speeds <= RESTING * (1 + sizes)).all(0) & bool(len(speeds))).tolist()
    has_grown = (~(sizes < LIMIT)).tolist()  # not a number, too
    return [KINDS[3] if grown else KINDS[0] if rests else "" for grown, rests in zip(has_grown, at_rest, strict=True)]


def _judge_motion(states: Tensor, rate: Tensor) -> tuple[str, int | None]:
    """Tell kind and period from the last states (T, N) of an orbit that moves, and its rates of growth (T,)."""
    pieces = torch.stack([piece.mean() for piece in rate.tensor_split(STRETCHES) if len(piece)])
    error = float(pieces.std()) / len(pieces) ** 0.5 if len(pieces) > 1 else 0.0
    if float(rate.mean()) > max(CHAOS, SURE * error):
        return KINDS[2], None
    quarter = len(states) // 4
    first, last = states[:quarter], states[-quarter:]
    sizes = [float((part - part.mean(0)).norm()) for part in (first, last)]
    speeds = [float((part[1:] - part[:-1]).norm()) for part in (first, last)]
    if sizes[1] < FADING * sizes[0] and speeds[1] < FADING * speeds[0]:
        return KINDS[0], None
    period = _period(states)
    if period is None:
        lengths = states.norm(dim=1)
        way = float((states[-1] - states[0]).norm())
        if bool((lengths[1:] >= lengths[:-1]).all()) and float(lengths[-1] - lengths[0]) > way / 2:
            return KINDS[3], None
    return KINDS[1], period


def _period(states: Tensor) -> int | None:
    """Return after how many steps an orbit (T, N) comes back; None if not within half of what is seen of it."""
    lags = range(1, len(states) // 2 + 1)
    apart = torch.stack([(states[lag:] - states[:-lag]).norm(dim=1).square().mean().sqrt() for lag in lags])
    apart = apart / apart.max()
    exactly = (apart <= EXACT).nonzero().flatten()
    if len(exactly):
        return lags[int(exactly[0])]
    is_low = (apart[1:-1] <= NEARLY) & (apart[1:-1] <= apart[:-2]) & (apart[1:-1] <= apart[2:])
    nearly = is_low.nonzero().flatten()
    return lags[int(nearly[0]) + 1] if len(nearly) else None


def _largest(step: StateMap, x: Any, states: Tensor) -> Tensor:
    """Return the growth of the fastest growing direction at each step, (T, B); nothing grows where states overflow."""
    inputs = _held(x, ALIGNING + EXPONENT_STEPS)
    try:
        return growth_rates(step, inputs, states, count=1, steps=EXPONENT_STEPS, warmup=ALIGNING)[:, :, 0]
    except DivergedError:
        return torch.zeros(1, len(states), dtype=torch.float64)


def _held(x: Any, steps: int) -> Any:
    return map_leaves(lambda leaf: leaf.expand(steps, *leaf.shape), x)
