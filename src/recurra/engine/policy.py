"""What every way to back-propagate is made of.

A policy is two choices: *cuts*, where the gradient of the state stops or is reweighted, and *memory*, how the steps
between two cuts are remembered until gradients come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from recurra.errors import BackpropError
from recurra.state import map_leaves

__all__ = [
    "STORE",
    "WHOLE",
    "Captured",
    "Memory",
    "Policy",
    "Segment",
    "Store",
    "Window",
    "check_positive",
    "join",
    "sequence_leaves",
    "slice_time",
    "time_steps",
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

    has_equal_spans: bool = True
    """Is a stream cut into spans of one length, each beginning where the last one ended?"""

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
        return WHOLE, WHOLE

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


WHOLE = Policy()
"""No cuts, everything kept: how a span that is cut from its neighbours is run."""


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
    if type(value) is not int:
        raise BackpropError(f"the {name} of back-propagation is a whole number of steps, not {value!r}")
    if not 1 <= value < 2**31:
        raise BackpropError(f"the {name} of back-propagation must be at least 1 and below 2³¹, not {value}")


def time_steps(sequence: Any) -> int:
    """Return the number of steps T of a sequence, a tree of tuples of tensors (T, ...)."""
    return sequence_leaves(sequence)[0].shape[0]


def sequence_leaves(sequence: Any) -> list[Tensor]:
    """Return the tensors of a sequence, a tree of tuples in which None may stand for a tensor."""
    if isinstance(sequence, Tensor):
        return [sequence]
    return [leaf for branch in sequence or () for leaf in sequence_leaves(branch)]
