"""The engine against what a user would pick instead."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from recurra.benchmarks.peers import OURS, contenders
from recurra.benchmarks.timing import geometric_mean, interleave, median_ratio
from recurra.benchmarks.work import Call, Case, Unavailable, Work, count_products

__all__ = ["BEST_PEER", "GRID", "Result", "Shape", "Speed", "cases", "means", "measure"]

Shape = tuple[int, int, int]
"""Rows, steps and units: (B, T, H)."""

_LAYERS: tuple[Shape, ...] = ((32, 35, 64), (32, 64, 128), (32, 64, 256), (64, 64, 512), (20, 70, 1150))
GRID: dict[str, tuple[Shape, ...]] = {
    "train": _LAYERS,
    "infer": (*_LAYERS, (1, 256, 256), (1, 256, 1024)),
    "step": ((1, 1, 256), (1, 1, 1024)),
}
BEST_PEER = "best peer"
"""The fastest of those that are not ours, for each case anew."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast one contender is at one case.

    Args:
        seconds: median of one call.
        gflops: operations of matrix products in 10⁹ per second; None for a cell without any.
        share: of the measured peak.
        ratio: median over rounds of its time by ours; above 1, ours is faster.
        first_s: seconds until the first result was there, with all that was compiled and tried out for it.
        error: largest difference from the reference loop, in units of the largest number.
    """

    seconds: float
    gflops: float | None
    share: float | None
    ratio: float
    first_s: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """One case, measured."""

    case: Case
    operations: int
    speeds: dict[str, Speed]

    def as_mapping(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        case = self.case
        return {
            "cell": case.cell,
            "mode": case.mode,
            "shape": [case.rows, case.steps, case.size],
            "operations": self.operations,
            "speeds": {name: vars(speed) for name, speed in self.speeds.items()},
        }

    def best_peer(self) -> Speed | None:
        """Return the fastest of those that are not ours."""
        return min(
            (speed for name, speed in self.speeds.items() if not name.startswith(OURS)),
            key=lambda speed: speed.seconds,
            default=None,
        )


def cases(cells: Sequence[str], modes: Sequence[str], shapes: Sequence[Shape] = ()) -> Iterator[Case]:
    """Yield what is measured, cell by cell: the given shapes, or those of the grid."""
    for cell in cells:
        for mode in modes:
            for rows, steps, size in shapes or GRID[mode]:
                yield Case(cell, mode, rows, steps, size)


class _Ready(NamedTuple):
    call: Call
    first_s: float
    error: float


def measure(
    case: Case,
    peak_gflops: float,
    *,
    compiled: bool = False,
    rounds: int | None = None,
    say: Callable[[str], None] = print,
) -> Result:
    """Measure ours and every peer that can take part, on the same numbers.

    Args:
        peak_gflops: of the threads in use.
        compiled: with `torch.compile`.
        rounds: readings of each; see `interleave`.
        say: is told who is not measured and why, and what takes long.
    Raises: RuntimeError if ours computes something else than the reference loop: its speed would mean nothing.
    """
    work = Work.build(case)
    operations = count_products(work)
    with torch.inference_mode(case.mode != "train"):
        ready = dict(_prepare(work, compiled, say))
        readings = interleave({name: one.call for name, one in ready.items()}, rounds)
    speeds = {}
    for name, one in ready.items():
        seconds = statistics.median(readings[name])
        gflops = operations / seconds / 1e9 if operations else None
        speeds[name] = Speed(
            seconds=seconds,
            gflops=gflops,
            share=None if gflops is None else gflops / peak_gflops,
            ratio=median_ratio(readings[OURS], readings[name]),
            first_s=one.first_s,
            error=one.error,
        )
    return Result(case=case, operations=operations, speeds=speeds)


def _prepare(work: Work, compiled: bool, say: Callable[[str], None]) -> Iterator[tuple[str, _Ready]]:
    for name, prepare in contenders(compiled=compiled).items():
        if name == "torch compiled":
            say(f"{work.case}: torch.compile, which may take minutes …")
        started = time.perf_counter()
        try:
            call = prepare(work)
        except Unavailable as error:
            say(f"without {name}: {error}")
            continue
        if call is None:
            continue
        returned = call()
        one = _Ready(call, time.perf_counter() - started, work.error(returned))
        if work.agrees(one.error):
            yield name, one
        elif name.startswith(OURS):
            raise RuntimeError(f"{name} differs from the reference loop by {one.error:.1e} at {work.case}")
        else:
            say(f"{work.case}: without {name}, which differs from the reference loop by {one.error:.1e}")


def means(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return for every cell and mode the geometric means over shapes, by contender and against the best peer."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.case.cell, result.case.mode), []).append(result)
    return [
        {"cell": cell, "mode": mode, "shapes": len(group), "speeds": _means_of(group)}
        for (cell, mode), group in groups.items()
    ]


def _means_of(group: Sequence[Result]) -> dict[str, Any]:
    """Average each contender over the shapes at which it was measured."""
    by_name: dict[str, list[Speed]] = {}
    for result in group:
        for name, speed in result.speeds.items():
            by_name.setdefault(name, []).append(speed)
        if (best := result.best_peer()) is not None:
            by_name.setdefault(BEST_PEER, []).append(best)
    return {
        name: {
            "shapes": len(speeds),
            "seconds": geometric_mean([speed.seconds for speed in speeds]),
            "gflops": geometric_mean([speed.gflops for speed in speeds if speed.gflops]),
            "share": geometric_mean([speed.share for speed in speeds if speed.share]),
            "ratio": geometric_mean([speed.ratio for speed in speeds]),
        }
        for name, speeds in by_name.items()
    }
