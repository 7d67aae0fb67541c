"""Windows of random length: no step is always the first of its window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recurra.engine.policies.draws import torch_seeded
from recurra.engine.policy import Policy, Window, check_positive

__all__ = ["RandomWindow"]

SHORT = 0.05
"""Probability of a window around half the length."""

DEVIATION = 5
"""Standard deviation of a length, and the shortest there is, in steps."""

LONGEST = 4
"""Standard deviations above the nominal length at which lengths are capped, so that memory is bounded."""


@dataclass(frozen=True)
class RandomWindow(Policy):
    """Back-propagation cut at the borders of windows whose length is drawn anew for each.

        L = clamp(round(N(m, 5)), 5, n + 20)        m = n with probability 0.95, else n/2

    A cut at a fixed distance would hide the same pairs of steps from each other in every epoch. In training the
    learning rate of a step is multiplied by L/n, so that each token weighs the same.

    Args:
        n: nominal length in steps. Windows shorter than 5 steps have this length instead.
    Source: Merity, Keskar & Socher 2018 (AWD-LSTM), section 5; the upper bound is ours.
    """

    n: int

    def __post_init__(self) -> None:
        check_positive("window", self.n)

    has_equal_spans = False

    @property
    def span(self) -> int:  # type: ignore[override]
        """The nominal length."""
        return self.n

    def windows(self, steps: int) -> Iterator[Window]:
        """Windows drawn by a seed from torch's generator, the same for all rows."""
        return self.spans(steps, torch_seeded())

    def spans(self, steps: int, random: np.random.Generator) -> Iterator[Window]:
        """Windows drawn from a generator."""
        start = 0
        while start < steps:
            mean = self.n if random.random() >= SHORT else self.n / 2
            length = round(random.normal(mean, DEVIATION))
            length = min(max(length, DEVIATION), self.n + LONGEST * DEVIATION) if self.n > DEVIATION else self.n
            yield Window(start, start, min(start + length, steps))
            start += length

    def rate(self, steps: int) -> float:
        """L/n."""
        return steps / self.n

    def __str__(self) -> str:
        return f"random:{self.n}"
