"""Beam search: the most probable sequences, looked for in many at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.config import check_at_least
from recurra.decoding.lanes import Beam, Candidates, Hypothesis, Search
from recurra.decoding.steps import Prefill, Step, read_by_steps
from recurra.errors import DivergedError, ShapeError
from recurra.state import select

__all__ = ["beam_search"]


@torch.no_grad()
def beam_search(
    step: Step,
    state: Any,
    prompt: Tensor,
    *,
    width: int,
    tokens: int | Tensor,
    prefill: Prefill | None = None,
    end: int | None = None,
    length_penalty: float = 0.0,
    groups: int = 1,
    diversity: float = 0.0,
    best: int = 1,
    finished: Callable[[Sequence[int]], bool] | None = None,
) -> list[list[Hypothesis]]:
    """Search for the most probable continuations of prompts.

    At each step the `width` most probable continuations of what runs are taken; those that end leave the beam and take
    their places with them. The greedy path runs beside the beam, so that no result scores below it. The search for
    an input is over once nothing that runs can come before what is kept, which changes no result. Width 1 is greedy.

    Args:
        step: reads one token per row.
        state: of B rows; not mutated.
        prompt: (T, B) int64, time first, T >= 1.
        width, length_penalty, groups, diversity, best: see `recurra.decoding.Beam`.
        tokens: most tokens of a continuation, its end included; or (B,) int64 for each row.
        prefill: reads the whole prompt at once, faster than `step`.
        end: a token that ends a continuation.
        finished: tells whether tokens end a continuation, as one that reached a stop text.
    Returns: for each row the best hypotheses, best first, whatever stands in the rows beside it. There are fewer where
        fewer are possible, as tokens may have scores of -inf.
    Raises: ShapeError if prompt and limits do not fit; ConfigError for settings; DivergedError if the model's scores
        are not numbers.
    Gradient: none.
    """
    beam = Beam(width=width, length_penalty=length_penalty, groups=groups, diversity=diversity, best=best)
    if prompt.ndim != 2 or not prompt.numel():
        raise ShapeError(f"a prompt is (tokens, rows) with one token at least, not {tuple(prompt.shape)}")
    limits = tokens.tolist() if isinstance(tokens, Tensor) else [tokens] * prompt.shape[1]
    if len(limits) != prompt.shape[1]:
        raise ShapeError(f"the prompt has {prompt.shape[1]} rows, and there are limits for {len(limits)}")
    check_at_least(1, tokens=min(limits))

    def is_end(ids: tuple[int, ...]) -> bool:
        return ids[-1] == end or (finished is not None and finished(ids))

    searches = [Search(beam, limit, row, is_end) for row, limit in enumerate(limits)]
    logits, state = (prefill or read_by_steps(step))(prompt, state)
    while True:
        candidates = _most_likely(logits, width)
        rows: dict[tuple[int, int], int] = {}
        for search in searches:
            search.advance(candidates)
            search.renumber(rows)
        if not rows:
            return [search.best for search in searches]
        parents, chosen = torch.tensor(list(rows), dtype=torch.int64, device=logits.device).unbind(1)
        logits, state = step(chosen, select(state, parents))


def _most_likely(logits: Tensor, count: int) -> list[Candidates]:
    """Return the `count` most likely tokens of each row (R, V), fewer where fewer are possible.

    As many are enough for groups, too: no more tokens can have a cost than are taken by the groups before.
    """
    highest = logits.amax(-1)
    if bool((highest.isnan() | highest.isposinf()).any()):
        raise DivergedError(
            "the model's scores for the next token are not numbers; use weights from before it diverged"
        )
    count = min(count, logits.shape[-1])
    least = logits.topk(count, -1).values[:, -1:]
    kept = (logits >= least) & (logits > -math.inf)  # of equals all; which of them come first is decided below
    rows, ids = kept.nonzero(as_tuple=True)
    log_p = logits[rows, ids].double() - logits.logsumexp(-1).double()[rows]
    pairs = list(zip(ids.tolist(), log_p.tolist(), strict=True))
    found: list[Candidates] = []
    start = 0
    for size in kept.sum(-1).tolist():
        found.append(sorted(pairs[start : start + size], key=lambda pair: -pair[1])[:count])
        start += size
    return found
