"""Random truncation whose gradient is, on average, the one that nothing was cut from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.engine.policies.draws import torch_seeded
from recurra.engine.policy import Policy, Window, check_positive
from recurra.errors import BackpropError
from recurra.share import draw_rows

__all__ = ["Unbiased"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Unbiased(Policy):
    """Anticipated reweighted truncated back-propagation: cuts at random, and what passes one weighs more.

        δ_t = ∂ℓ_t/∂s_t + g_t (∂s_{t+1}/∂s_t)ᵀ δ_{t+1},    g_t = 0 with probability c_t, else 1/(1 - c_t)
        c_t = (α - 1) / ((α - 2) n + d_t)                  d_t: steps since the last cut

    As E[g_t] = 1, the gradient is unbiased for fixed parameters. Segments between cuts are n steps long on average and
    have a heavy tail, P(length > d) ≈ (1 + d/((α - 2) n))^(1 - α): now and then one is many times as long, and takes as
    much memory. The weight of a path of d steps is the inverse of that probability; it is summed up as a logarithm
    (`log_weight`), and no product of many factors is ever formed.

    In a scan every row is cut at steps of its own. A stream is trained in spans that end at cuts, for all rows the
    same, with a learning rate in proportion to the length, so that each token weighs the same.

    Args:
        n: mean length of a segment, in steps.
        alpha: how fast long segments become rare; above 2. Lower: less variance, more memory.
    Source: Tallec & Ollivier 2017, eqs. 9-12 and their schedule.
    """

    n: int
    alpha: float = 4.0

    def __post_init__(self) -> None:
        check_positive("mean length", self.n)
        if not 2 < self.alpha < math.inf:
            raise BackpropError(f"alpha must be above 2, or segments would have no mean length; it is {self.alpha}")
        if self.n < 2:
            raise BackpropError("a mean length of 1 cuts every step, and no weight mends that; take unbiased:2 or more")

    has_equal_spans = False

    @property
    def span(self) -> int:  # type: ignore[override]
        """The mean length."""
        return self.n

    def log_survival(self, steps: int) -> Floats:
        """Return (steps + 1,) the logarithms of the probabilities that a segment is longer than 0, 1, ... steps."""
        distance = np.arange(1, steps + 1)
        cut = (self.alpha - 1) / ((self.alpha - 2) * self.n + distance)
        return np.concatenate([[0.0], np.cumsum(np.log1p(-cut))])

    def log_weight(self, steps: int) -> float:
        """Return the logarithm of the weight of a gradient that has come back so many steps uncut."""
        return -float(self.log_survival(steps)[-1])

    def gate(self, steps: int, rows: int) -> Tensor:
        """Cuts of each row, and the weights of what passes between them."""
        return draw_rows(lambda rows: self._gate(steps, rows), rows, 1)

    def _gate(self, steps: int, rows: int) -> Tensor:
        random, log_survival = torch_seeded(), self.log_survival(steps)
        gate = np.empty((steps, rows))
        for row in range(rows):
            for start, stop in pairwise([0, *self._cuts(steps, random, log_survival), steps]):
                gate[start:stop, row] = _factors(log_survival, stop - start)
                gate[start, row] = 0.0 if start else 1.0
        return torch.from_numpy(gate)

    def spans(self, steps: int, random: np.random.Generator) -> Iterator[Window]:
        """Segments between cuts."""
        for start, stop in pairwise([0, *self._cuts(steps, random, self.log_survival(steps)), steps]):
            yield Window(start, start, stop)

    def _cuts(self, steps: int, random: np.random.Generator, log_survival: Floats) -> Iterator[int]:
        """Draw the steps before which the gradient is cut, by inverting the distribution of a segment's length."""
        at, log_weight = 0, -log_survival
        while True:
            # the first length that a draw does not survive; none up to the end is no cut at all
            at += int(np.searchsorted(log_weight, -math.log1p(-random.random()), side="right"))
            if at >= steps:
                return
            yield at

    @property
    def within(self) -> tuple[Policy, Policy]:
        """Spans end at cuts; inside, all that passes is reweighted."""
        return super().within[0], _Uncut(self)

    def rate(self, steps: int) -> float:
        """Length by mean length."""
        return steps / self.n

    def __str__(self) -> str:
        return f"unbiased:{self.n}" if self.alpha == 4.0 else f"unbiased:{self.n},{self.alpha!r}"


@dataclass(frozen=True)
class _Uncut(Policy):
    """One segment between two cuts: nothing is cut, all that passes is reweighted."""

    policy: Unbiased

    def gate(self, steps: int, rows: int) -> Tensor:
        """The same for all rows."""
        factors = torch.from_numpy(_factors(self.policy.log_survival(steps), steps))
        return factors.unsqueeze(1).expand(steps, rows)


def _factors(log_survival: Floats, steps: int) -> Floats:
    """Return 1, then 1/(1 - c_d) for d = 1, 2, ...: the factors of gradients that were not cut."""
    return np.exp(-np.diff(log_survival[:steps], prepend=0.0))
