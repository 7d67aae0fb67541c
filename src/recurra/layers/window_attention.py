"""Attention over the last steps of a sequence, as a layer whose state is what it may look at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from recurra.config import check_at_least
from recurra.engine.products import product
from recurra.errors import ShapeError

__all__ = ["Past", "WindowAttention"]

LEAST_BLOCK = 32
"""Steps whose scores are computed together, where the window is shorter than that."""


class Past(NamedTuple):
    """The last N steps, the latest at the end.

    Args:
        h: (B, N, H), what the layer below said.
        x: (B, N, E), what was read there.
        seen: (B, N), 1 where there was a step since the row's start; where it is 0, so are the others.
    """

    h: Tensor
    x: Tensor
    seen: Tensor


class WindowAttention(nn.Module):
    """Attention to what followed when the layer below was last in a state like this one.

        s_tj = h_tᵀ W h_j / √H                              t - N <= j < t
        a_tj = exp(s_tj) / (exp(b) + Σ_k exp(s_tk))
        o_t  = h_t + V Σ_j a_tj x_{j+1}

    b is the score of looking nowhere. Places have no numbers: how long ago a step was is for h to tell. Nothing is seen
    beyond N steps, nor from before a row starts afresh.

    It is a cell that reads h_t and x_t side by side. Many steps at once are taken by `run_steps`.

    Args:
        size: H, features of h and of the output.
        values: E, features of x.
        window: N.
    Source: local attention with the score "general" Luong, Pham & Manning 2015; keys apart from values Daniluk,
        Rocktäschel, Welbl & Riedel 2017; a state as the key of what followed it Grave, Joulin & Usunier 2017.
    """

    def __init__(self, size: int, values: int, window: int) -> None:
        super().__init__()
        if size < 1 or values < 1:
            raise ShapeError(f"sizes must be positive: size={size}, values={values}")
        check_at_least(1, window=window)
        self.size = size
        self.values = values
        self.window = window
        self.W = nn.Parameter(torch.empty(size, size))
        self.V = nn.Parameter(torch.empty(size, values))
        self.b = nn.Parameter(torch.zeros(()))
        for matrix in (self.W, self.V):
            bound = matrix.shape[1] ** -0.5
            nn.init.uniform_(matrix, -bound, bound)

    @property
    def input_size(self) -> int:
        """H + E."""
        return self.size + self.values

    @property
    def output_size(self) -> int:
        """H."""
        return self.size

    def step(self, inputs: Tensor, state: Past) -> tuple[Tensor, Past]:
        """h and x side by side (B, H + E), the past -> output (B, H), the past with this step for its oldest."""
        h, x = inputs.split((self.size, self.values), -1)
        followed = _shifted(state.x, x)
        scores = (state.h @ linear(h, self.W).unsqueeze(-1)).squeeze(-1)
        a = self._weights(scores, state.seen > 0.5)
        output = h + linear((a.unsqueeze(1) @ followed).squeeze(1), self.V)
        return output, Past(_shifted(state.h, h), followed, _shifted(state.seen, torch.ones_like(h[:, 0])))

    def zero_state(self, batch: int) -> Past:
        """Nothing was seen."""
        zeros, N = self.W.new_zeros, self.window
        return Past(zeros(batch, N, self.size), zeros(batch, N, self.values), zeros(batch, N))

    def run_steps(
        self, inputs: Tensor, state: Past, alive: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Past]:
        """Take T steps at once: the fold of `step`, in memory in proportion to T · N.

        Args:
            inputs: (T, B, H + E).
            alive: (T, B) bool; false from a row's end on, where outputs are zeros and the state stays.
            reset: (T, B) bool; where true the row starts afresh before the step.
        Returns: (outputs (T, B, H), the past after the last step).
        Gradient: into inputs, parameters and the given state.
        """
        (steps, rows), N = inputs.shape[:2], self.window
        if alive is not None:  # a weight of zero times what is no number would spread
            inputs = inputs.masked_fill(~alive.unsqueeze(-1), 0)
        h, x = inputs.split((self.size, self.values), -1)
        # The given past and all steps behind each other: step t looks at places t to t + N - 1.
        past = Past(
            torch.cat([state.h, h.transpose(0, 1)], 1),
            torch.cat([state.x, x.transpose(0, 1)], 1),
            torch.cat([state.seen, state.seen.new_ones(rows, steps)], 1),
        )
        starts = None if reset is None else torch.cat([reset.new_zeros(rows, N), reset.T], 1).cumsum(1)
        queries, contexts = product(h, self.W).transpose(0, 1), []
        for first, last, visible in self._blocks(past.seen, starts, steps):
            scores = torch.bmm(queries[:, first:last], past.h[:, first : last + N - 1].transpose(1, 2))
            contexts.append(torch.bmm(self._weights(scores, visible), past.x[:, first + 1 : last + N]))
        context = contexts[0] if len(contexts) == 1 else torch.cat(contexts, 1)
        outputs = h + product(context, self.V).transpose(0, 1)
        if alive is not None:
            outputs = outputs.masked_fill(~alive.unsqueeze(-1), 0)
        return outputs, _last(past, starts, steps if alive is None else alive.sum(0), N)

    def _blocks(self, seen: Tensor, starts: Tensor | None, steps: int) -> Iterator[tuple[int, int, Tensor]]:
        """Yield (first step, last step + 1, which of its places (B, steps, places) each may see)."""
        N = self.window
        for first in range(0, steps, max(N, LEAST_BLOCK)):
            last = min(first + max(N, LEAST_BLOCK), steps)
            step = torch.arange(last - first, device=seen.device).unsqueeze(1)
            place = torch.arange(last - first + N - 1, device=seen.device)
            visible = (step <= place) & (place < step + N) & (seen[:, first : last + N - 1] > 0.5).unsqueeze(1)
            if starts is not None:
                here, there = starts[:, first + N : last + N], starts[:, first : last + N - 1]
                visible = visible & (here.unsqueeze(2) == there.unsqueeze(1))
            yield first, last, visible

    def _weights(self, scores: Tensor, visible: Tensor) -> Tensor:
        """Return a (..., places) of scores; 0 where nothing is visible."""
        scores = (scores * self.size**-0.5).masked_fill(~visible, -math.inf)
        nowhere = self.b.expand(*scores.shape[:-1], 1)
        return torch.cat([nowhere, scores], -1).softmax(-1)[..., 1:]

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{self.size}, {self.values}, window={self.window}"


def _shifted(places: Tensor, latest: Tensor) -> Tensor:
    return torch.cat([places[:, 1:], latest.unsqueeze(1)], 1)


def _last(past: Past, starts: Tensor | None, steps: int | Tensor, window: int) -> Past:
    """Return the N places before the end of each row; what lies before its last start is as if it had never been."""
    if isinstance(steps, int):
        h, x, seen = (leaf[:, steps:] for leaf in past)
        texts = None if starts is None else starts[:, steps:]
    else:
        at = steps.unsqueeze(1) + torch.arange(window, device=steps.device)
        h, x = (leaf.gather(1, at.unsqueeze(-1).expand(-1, -1, leaf.shape[-1])) for leaf in (past.h, past.x))
        seen, texts = past.seen.gather(1, at), None if starts is None else starts.gather(1, at)
    if texts is None:
        return Past(h, x, seen)
    gone = texts != texts[:, -1:]
    h, x = (leaf.masked_fill(gone.unsqueeze(-1), 0) for leaf in (h, x))
    return Past(h, x, seen.masked_fill(gone, 0))
