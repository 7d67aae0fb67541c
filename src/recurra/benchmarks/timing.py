"""Timing things against each other, so that a busy moment of the machine falls on all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["geometric_mean", "interleave", "median_ratio"]

BLOCK_S = 0.02
"""A reading lasts at least so long: what is shorter is called several times."""
SETTLE_S = 0.002
"""A pause before every reading: the threads of the one before spin for a while, waiting for more."""
BUDGET_S = 3.0
LEAST_ROUNDS, MOST_ROUNDS, MOST_CALLS = 5, 25, 10_000


def interleave(callables: Mapping[str, Callable[[], Any]], rounds: int | None = None) -> dict[str, list[float]]:
    """Time every callable once a round, in turn; every second round goes backwards.

    Each is called at least twice before the first reading.

    Args:
        rounds: readings of each; by default as many as fit into a few seconds, but never fewer than five.
    Returns: for each name its seconds per call, one reading per round: reading r of all belong together.
    """
    once = {name: _warm(call) for name, call in callables.items()}
    calls = {name: max(1, min(MOST_CALLS, round(BLOCK_S / max(seconds, 1e-9)))) for name, seconds in once.items()}
    if rounds is None:
        round_s = sum(seconds * calls[name] + SETTLE_S for name, seconds in once.items())
        rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, int(BUDGET_S / max(round_s, 1e-9))))
    names = list(callables)
    readings: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in reversed(names) if turn % 2 else names:
            time.sleep(SETTLE_S)
            if once[name] < BLOCK_S:
                callables[name]()  # brings its data back into the caches and wakes its threads
            readings[name].append(_block(callables[name], calls[name]))
    return readings


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median over rounds of theirs / ours: above 1, ours is faster."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def geometric_mean(values: Sequence[float]) -> float | None:
    """Return the geometric mean of positive values; of none, None."""
    return statistics.geometric_mean(values) if values else None


def _warm(call: Callable[[], Any]) -> float:
    call()
    return _block(call, 1)


def _block(call: Callable[[], Any], calls: int) -> float:
    collecting = gc.isenabled()
    gc.disable()
    try:
        started = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - started) / calls
    finally:
        if collecting:
            gc.enable()
