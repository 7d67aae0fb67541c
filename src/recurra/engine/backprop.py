"""How far gradients travel back through time: full and truncated back-propagation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from recurra.errors import BackpropError
from recurra.state import detach

__all__ = ["Full", "Policy", "Truncated", "parse_policy", "unroll"]

V = TypeVar("V")
Span = tuple[int, int]


class Policy(Protocol):
    """A way to back-propagate through time."""

    @property
    def span(self) -> int:
        """Time steps per optimizer step when a stream is trained."""

    def windows(self, steps: int) -> Iterator[Span]:
        """Yield (start, stop) of consecutive windows of a sequence; the state's gradient is cut between them."""


@dataclass(frozen=True)
class Full:
    """Back-propagation through every step of the sequence.

    Args:
        span: time steps per optimizer step when a stream, which has no end, is trained.
    Source: Werbos 1990.
    """

    span: int = 1024

    def __post_init__(self) -> None:
        _check_positive("span", self.span)

    def windows(self, steps: int) -> Iterator[Span]:
        """One window: the whole sequence."""
        yield 0, steps

    def __str__(self) -> str:
        return f"full:{self.span}"


@dataclass(frozen=True)
class Truncated:
    """Back-propagation cut at the border of every window; the state's value is carried across.

    Args:
        window: time steps between cuts (k1 = k2).
    Source: Williams & Peng 1990.
    """

    window: int

    def __post_init__(self) -> None:
        _check_positive("window", self.window)

    @property
    def span(self) -> int:
        """Time steps per optimizer step: one window."""
        return self.window

    def windows(self, steps: int) -> Iterator[Span]:
        """Windows of `window` steps; the last may be shorter."""
        for start in range(0, steps, self.window):
            yield start, min(start + self.window, steps)

    def __str__(self) -> str:
        return str(self.window)


def unroll(
    segment: Callable[[Span, Any], tuple[V, Any]], spans: Iterable[Span], state: Any, policy: Policy
) -> tuple[list[V], Any]:
    """Fold `segment` over consecutive spans of time, passing the state along.

    Args:
        segment: ``segment((start, stop), state) -> (value, state)``, differentiable.
        spans: what to run, in order; each is cut into the windows of the policy, none is cut off from the one before.
        state: where to start; not mutated.
    Returns: (the values of all windows in order, the state after the last).
    Gradient: flows through the state but where the policy cuts it, and into the given state.
    """
    values: list[V] = []
    for start, stop in spans:
        for a, b in policy.windows(stop - start):
            value, state = segment((start + a, start + b), detach(state) if a else state)
            values.append(value)
    return values, state


def parse_policy(text: str) -> Full | Truncated:
    """Read a policy as it is written on the command line: ``64``, ``full`` or ``full:SPAN``.

    Raises: BackpropError for anything else.
    """
    name, _, argument = text.strip().partition(":")
    try:
        if name == "full":
            return Full(int(argument)) if argument else Full()
        if name == "truncated" and argument:
            return Truncated(int(argument))
        return Truncated(int(text))
    except ValueError as error:
        if isinstance(error, BackpropError):
            raise
        raise BackpropError(f"cannot read '{text}' as a way to back-propagate; write 64, full or full:1024") from None


def _check_positive(name: str, value: int) -> None:
    if not 1 <= value < 2**31:
        raise BackpropError(f"the {name} of back-propagation must be at least 1 and below 2³¹, not {value}")
