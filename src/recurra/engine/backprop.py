"""How far gradients travel back through time: full and truncated back-propagation, and unrolling by any policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from recurra.engine.policy import Captured, Policy, Segment, Window, check_positive, join, slice_time, time_steps
from recurra.errors import BackpropError
from recurra.state import detach

__all__ = ["Full", "Truncated", "unroll"]


@dataclass(frozen=True)
class Full(Policy):
    """Back-propagation through every step of the sequence.

    Args:
        span: time steps per optimizer step when a stream, which has no end, is trained.
    Source: Werbos 1990.
    """

    span: int = 1024

    def __post_init__(self) -> None:
        check_positive("span", self.span)

    def __str__(self) -> str:
        return f"full:{self.span}"


@dataclass(frozen=True)
class Truncated(Policy):
    """Every k1 steps, back-propagation of their losses through the last k2; the state's value is carried on.

    With k1 = k2 the gradient is cut at the border of every window. With k2 > k1 each loss reaches back at least k2 - k1
    steps; the steps before a window's own are run anew, so that a pass costs about k2/k1 times as much.

    Args:
        k1: steps from one back-propagation to the next.
        k2: steps that each goes back, at least k1; default k1.
    Source: Williams & Peng 1990, BPTT(h; h') with h = k2, h' = k1.
    """

    k1: int
    k2: int | None = None

    def __post_init__(self) -> None:
        check_positive("window", self.k1)
        if self.k2 is None:
            object.__setattr__(self, "k2", self.k1)
        check_positive("window", self.reach)
        if self.reach < self.k1:
            raise BackpropError(
                f"truncated:{self.k1},{self.k2} would never see the gradient of some losses; take K2 of at least K1"
            )

    @property
    def reach(self) -> int:
        """Steps that a back-propagation goes back: k2."""
        return self.k1 if self.k2 is None else self.k2

    @property
    def has_equal_spans(self) -> bool:  # type: ignore[override]
        """Not where they overlap."""
        return self.reach == self.k1

    @property
    def span(self) -> int:  # type: ignore[override]
        """Time steps per optimizer step: k1."""
        return self.k1

    def windows(self, steps: int) -> Iterator[Window]:
        """Windows that end every k1 steps, and at the end."""
        for first in range(0, steps, self.k1):
            stop = min(first + self.k1, steps)
            yield Window(first if self.reach == self.k1 else max(0, stop - self.reach), first, stop)

    def spans(self, steps: int, random: np.random.Generator) -> Iterator[Window]:
        """The same windows."""
        return self.windows(steps)

    def __str__(self) -> str:
        return str(self.k1) if self.reach == self.k1 else f"truncated:{self.k1},{self.k2}"


def unroll(
    segment: Segment, sequence: Any, state: Any, policy: Policy, captured: Captured = lambda: ()
) -> tuple[Any, Any]:
    """Fold a function over time, passing the state along.

    A scan is the unrolling of a cell's steps; training is the unrolling of embedding, layers and loss.

    Args:
        segment: ``segment(piece, state) -> (value, state)``, differentiable, for any piece of the sequence.
        sequence: tensors (T, ...), time first, in a tree of tuples, in which None may stand for a tensor.
        state: where to start; not mutated.
        captured: returns all other tensors through which gradients flow into the segment: parameters.
    Returns: (value, the state after the last step). Tensors (t, ...) of the pieces' values are joined along time,
        numbers () are added.
    Gradient: flows through the state but where the policy cuts it, and into the given state.
    """
    windows = list(policy.windows(time_steps(sequence)))
    if len(windows) == 1:
        return policy.memory.fold(segment, sequence, state, captured)
    values: list[Any] = []
    kept = state
    for n, (start, first, stop) in enumerate(windows):
        state = detach(kept) if start else kept
        following = windows[n + 1].start if n + 1 < len(windows) else stop
        for a, b in pairwise(sorted({start, first, following, stop})):
            value, state = policy.memory.fold(segment, slice_time(sequence, a, b), state, captured)
            if a >= first:
                values.append(value)
            if b == following:
                kept = state
    return join(values), state
