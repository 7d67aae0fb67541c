"""Which states to keep so that a sequence can be gone through backwards in a given memory: arithmetic alone.

Time is cut into segments of equal length. A segment is run in one of two ways: *taped*, all that its backward pass
reads is kept, or *untaped*, for its values alone. Before a segment is taped again, the state at its beginning is
needed: it is kept, or computed from an earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from recurra.errors import BackpropError

__all__ = ["MOST_RUNS", "Cost", "Schedule", "advances", "best_middle", "make_schedule"]

MOST_RUNS = 10.0
"""Forward passes per step beyond which a budget counts as too small: it would save memory that nobody misses."""

NEAR_BEST = 1.01
"""Among schedules that cost at most this much more than the best, the one of the longest segments is taken."""


@dataclass(frozen=True)
class Cost:
    """Memory of a sequence, in bytes.

    Args:
        state: of one state that is kept.
        fixed, step: what a taped run of k steps holds is fixed + k · step.
    """

    state: int
    fixed: int
    step: int

    def tape(self, steps: int) -> int:
        """Bytes of a taped run."""
        return self.fixed + steps * self.step


@dataclass(frozen=True)
class Schedule:
    """How a sequence is gone through.

    Args:
        steps: T.
        length: steps of a segment; the last may be shorter.
        taped: segments, the last ones, that are taped in the forward pass.
        states: states that are kept at most, beside the first.
        memory_bytes: all of it at its highest.
    """

    steps: int
    length: int
    taped: int
    states: int
    memory_bytes: int

    @property
    def segments(self) -> int:
        """Number of segments."""
        return -(-self.steps // self.length)

    @property
    def runs(self) -> float:
        """Forward passes per step, 1 if nothing is computed twice."""
        return _runs(self.segments, self.taped, self.states)

    def spans(self) -> list[tuple[int, int]]:
        """Return (start, stop) of all segments."""
        return [(a, min(a + self.length, self.steps)) for a in range(0, self.steps, self.length)]

    def sweep(self) -> Iterator[int]:
        """Yield the segments at whose beginning the first forward pass keeps the state."""
        first, last, free = 0, self.segments - self.taped, self.states
        while last - first > 1 and free:
            first += best_middle(last - first, free)
            free -= 1
            yield first

    def __str__(self) -> str:
        if self.taped == self.segments:
            return f"keeps all {self.steps:,} steps: {_size(self.memory_bytes)}, nothing is computed twice"
        return (
            f"keeps {self.states:,} states and {self.taped * self.length:,} of {self.steps:,} steps at a time: "
            f"{_size(self.memory_bytes)}, and {self.runs:.2f} forward passes instead of 1"
        )


def make_schedule(steps: int, budget: int, cost: Cost) -> Schedule:
    """Return the schedule of fewest forward passes that fits a budget, in bytes.

    Raises: BackpropError if none fits, or only those of more than `MOST_RUNS` passes; it names the smallest budget.
    """
    candidates = [s for length in _lengths(steps) if (s := _within(steps, length, budget, cost)) is not None]
    if not candidates:
        raise BackpropError(
            f"{steps:,} steps do not fit {_size(budget)}; give at least {_size(_smallest(steps, cost))}, "
            f"or fewer steps at a time"
        )
    least = min(candidate.runs for candidate in candidates)
    return max((c for c in candidates if c.runs <= NEAR_BEST * least), key=lambda c: c.length)


def _within(steps: int, length: int, budget: int, cost: Cost) -> Schedule | None:
    """Return the best schedule of segments of this length, or None where none fits."""
    segments, tape = -(-steps // length), cost.tape(length)
    # All states kept: the more segments are taped at once, the fewer states and the fewer runs.
    taped = min(segments, (budget - (segments - 1) * cost.state) // max(tape - cost.state, 1))
    if taped >= 1:
        states = max(segments - 1 - taped, 0)
        return Schedule(steps, length, taped, states, states * cost.state + taped * tape)
    states = (budget - tape) // max(cost.state, 1)
    if states < 0 or _runs(segments, 1, states) > MOST_RUNS:
        return None
    return Schedule(steps, length, 1, states, states * cost.state + tape)


def _runs(segments: int, taped: int, states: int) -> float:
    rest = segments - taped
    # the first pass over all; then every untaped segment once more, and what leads to it
    extra = advances(rest, states) - (rest - 1) + rest if rest else 0
    return (segments + extra) / segments


def _smallest(steps: int, cost: Cost) -> int:
    """Return the smallest budget that has a schedule."""
    found = []
    for length in _lengths(steps):
        segments = -(-steps // length)
        low, high = 0, segments
        while low < high:  # more states never make it slower
            middle = (low + high) // 2
            low, high = (low, middle) if _runs(segments, 1, middle) <= MOST_RUNS else (middle + 1, high)
        found.append(low * cost.state + cost.tape(length))
    return min(found)


def _lengths(steps: int) -> list[int]:
    """Return the lengths of segments that are worth a look: for each number of segments the shortest."""
    counts = {max(1, round(1.05**k)) for k in range(math.ceil(math.log(steps, 1.05)) + 1)} | {steps}
    return sorted({-(-steps // min(count, steps)) for count in counts})


def advances(segments: int, states: int) -> int:
    """Return how many untaped runs it takes to tape all segments from the last to the first.

        t(l, c) = r l - β(c + 1, r - 1),    β(c, r) = (c + r)! / (c! r!),    β(c, r - 1) < l ≤ β(c, r)

    with c = states + 1, as the first state is kept, too.

    Source: Griewank & Walther 2000 (revolve), theorem; it is the optimum, as dynamic programming finds it for recurrent
        networks, Gruslys et al. 2016.
    """
    if segments <= 1:
        return 0
    c, r = states + 1, 0
    while math.comb(c + r, c) < segments:
        r += 1
    return r * segments - math.comb(c + r, r - 1)


def best_middle(segments: int, states: int) -> int:
    """Return the segment, of these, at whose beginning the next of so many states is kept best.

    Source: Griewank & Walther 2000, of whose range of best choices the first is taken.
    """
    c, r = states + 1, 0
    while math.comb(c + r, c) < segments:
        r += 1
    earliest = math.comb(c + r - 2, c) if r >= 2 else 1
    return max(1, earliest, segments - math.comb(c - 1 + r, c - 1))


def _size(size: int) -> str:
    """Write a number of bytes, never less than it is."""
    unit, name = (2**20, "MiB") if size >= 2**20 else (2**10, "KiB")
    return f"{math.ceil(10 * size / unit) / 10:,.1f} {name}"
