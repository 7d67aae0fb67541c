"""How far gradients travel back through time: full and truncated back-propagation, and what every policy is made of.

A policy is two choices: *cuts*, where the gradient of the state stops or is reweighted, and *memory*, how the steps
between two cuts are remembered until gradients come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from recurra.errors import BackpropError
from recurra.state import detach, map_leaves

__all__ = [
    "STORE",
    "Captured",
    "Full",
    "Memory",
    "Policy",
    "Segment",
    "Store",
    "Truncated",
    "Window",
    "check_positive",
    "slice_time",
    "unroll",
]

T = TypeVar("T")
Segment = Callable[[Any, Any], tuple[Any, Any]]
Captured = Callable[[], Sequence[Tensor]]


class Window(NamedTuple):
    """Steps `start` to `stop`, inside which gradients travel; of their losses those from `first` on are counted."""

    start: int
    first: int
    stop: int


class Memory(Protocol):
    """How the steps of a window are remembered until gradients come back."""

    def fold(self, segment: Segment, sequence: Any, state: Any, captured: Captured) -> tuple[Any, Any]:
        """Run a segment over a whole window; arguments and results as in `unroll`."""


class Store:
    """Everything that the backward pass reads is kept."""

    def fold(self, segment: Segment, sequence: Any, state: Any, captured: Captured) -> tuple[Any, Any]:
        """Run it in one piece."""
        return segment(sequence, state)


STORE = Store()


class Policy:
    """A way to back-propagate through time. What is defined here: no cuts, everything kept."""

    span: int
    """Time steps per optimizer step when a stream is trained; their mean where they differ."""

    memory: Memory = STORE

    is_regular = True
    """Are the spans of a stream of so many steps always the same?"""

    def windows(self, steps: int) -> Iterator[Window]:
        """Yield the windows of a sequence, between which the gradient of the state is cut."""
        yield Window(0, 0, steps)

    def gate(self, steps: int, rows: int) -> Tensor | None:
        """Return factors (T, B) of the gradient of the state that enters each step, or None where all are 1."""
        return None

    def spans(self, steps: int, random: np.random.Generator) -> Iterator[Window]:
        """Yield what the trainer, which cuts the state off in between, reads of a stream at each optimizer step."""
        for start in range(0, steps, self.span):
            yield Window(start, start, min(start + self.span, steps))

    @property
    def within(self) -> tuple[Policy, Policy]:
        """How such a span is run: the policy of its loss, and that of the scans in it."""
        return Full(self.span), Full(self.span)

    def check(self, cell: Any, inputs: Any) -> None:
        """Raise BackpropError if a cell that reads inputs (T, B, ...) cannot be differentiated in this way."""

    def check_layers(self, layers: int) -> None:
        """Raise BackpropError if gradients cannot travel so through so many layers of cells."""

    def start(self, cell: Any, state: Any) -> Any:
        """Return what a scan of a cell begins from, given a state: the state, and what is carried beside it."""
        return state

    def value(self, state: Any) -> Any:
        """Return the state of the cells, without what a policy carries beside it."""
        return state

    def rate(self, steps: int) -> float:
        """Return the factor of the learning rate after a span of so many steps."""
        return 1.0


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
    def span(self) -> int:  # type: ignore[override]
        """Time steps per optimizer step: k1."""
        return self.k1

    def windows(self, steps: int) -> Iterator[Window]:
        """Windows that end every k1 steps, and at the end."""
        for first in range(0, steps, self.k1):
            stop = min(first + self.k1, steps)
            yield Window(max(0, first + self.k1 - self.reach), first, stop)

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
    windows = list(policy.windows(_steps(sequence)))
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


def slice_time(sequence: T, start: int, stop: int) -> T:
    """Return steps `start` to `stop` of all tensors (T, ...) in a tree of tuples; None stays."""
    if isinstance(sequence, Tensor):
        return sequence if (start, stop) == (0, len(sequence)) else sequence[start:stop]  # type: ignore[return-value]
    if isinstance(sequence, tuple):
        pieces = [slice_time(branch, start, stop) for branch in sequence]
        return type(sequence)(*pieces) if hasattr(sequence, "_fields") else type(sequence)(pieces)
    return sequence


def join(values: Sequence[Any]) -> Any:
    """Join the values of consecutive pieces of time: tensors (t, ...) along time, numbers () as a sum."""
    if len(values) == 1:
        return values[0]
    return map_leaves(lambda *pieces: sum(pieces[1:], pieces[0]) if pieces[0].ndim == 0 else torch.cat(pieces), *values)


def check_positive(name: str, value: int) -> None:
    """Raise BackpropError unless a number of steps is one."""
    if not 1 <= value < 2**31:
        raise BackpropError(f"the {name} of back-propagation must be at least 1 and below 2³¹, not {value}")


def _steps(sequence: Any) -> int:
    while not isinstance(sequence, Tensor):
        sequence = sequence[0]
    return sequence.shape[0]
