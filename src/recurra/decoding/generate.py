"""One token after another: draw, read what was drawn, draw again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from recurra.decoding.sampling import Sampler
from recurra.decoding.steps import Prefill, Step, read_by_steps
from recurra.errors import ShapeError
from recurra.state import map_leaves, select

__all__ = ["Draw", "generate", "make_generators"]


class Draw(NamedTuple):
    """Tokens just drawn, (B,) int64, and the state that has read everything before them."""

    ids: Tensor
    state: Any


def make_generators(seed: int, samples: int) -> list[torch.Generator]:
    """Return one random generator per sample; sample n of a seed is the same however many there are."""
    return [torch.Generator().manual_seed(_mix(seed, sample)) for sample in range(samples)]


def generate(
    step: Step,
    state: Any,
    prompt: Tensor,
    *,
    tokens: int,
    generators: Sequence[torch.Generator],
    sampler: Sampler | None = None,
    prefill: Prefill | None = None,
    end: int | None = None,
) -> Iterator[Draw]:
    """Continue a prompt, and hand out each token as soon as it is drawn.

    The state is a value, so a reader may stop at any draw and go on from there later: ``prompt=draw.ids[None]``,
    ``state=draw.state`` and the same generators continue as if nothing had happened.

    Args:
        step: reads one token per row.
        state: as many rows as the prompt; not mutated.
        prompt: (T, B) int64, time first, T >= 1; or (T, 1), read once and continued B times.
        tokens: how many to draw in each row.
        generators: one per row; their number is B.
        sampler: how to draw; default from the model's own distribution.
        prefill: reads the whole prompt at once, faster than `step`.
        end: a token that ends its row; all that the row holds behind it is that token again.
    Returns: an iterator of `tokens` draws of B rows, fewer where all rows have ended.
    Raises: ShapeError if prompt and generators do not fit.
    Gradient: none.
    """
    if prompt.ndim != 2 or not len(prompt):
        raise ShapeError(f"a prompt is (tokens, rows) with one token at least, not {tuple(prompt.shape)}")
    if prompt.shape[1] not in (1, len(generators)):
        raise ShapeError(f"the prompt has {prompt.shape[1]} rows for {len(generators)} generators; give 1, or as many")
    return _draws(step, state, prompt, tokens, list(generators), sampler or Sampler(), prefill, end)


@torch.no_grad()
def _draws(
    step: Step,
    state: Any,
    prompt: Tensor,
    tokens: int,
    generators: list[torch.Generator],
    sampler: Sampler,
    prefill: Prefill | None,
    end: int | None,
) -> Iterator[Draw]:
    logits, state = (prefill or read_by_steps(step))(prompt, state)
    rows = len(generators)
    if len(logits) != rows:
        logits = logits.expand(rows, -1)
        state = select(state, torch.zeros(rows, dtype=torch.int64))
    # Rows that have ended are no longer read; what they last were stays in `whole`.
    going, whole = torch.arange(rows), state
    for drawn in range(1, tokens + 1):
        new = sampler.draw(logits, [generators[row] for row in going.tolist()])
        if end is None:
            yield Draw(new, state)
        else:
            whole = state if len(going) == rows else map_leaves(_write_rows(going), whole, state)
            yield Draw(_write_rows(going)(torch.full((rows,), end, device=new.device), new), whole)
            left = (new != end).nonzero().squeeze(1)
            if len(left) < len(new):
                going, new, state = going[left.cpu()], new[left], select(state, left)
        if drawn == tokens or not len(going):
            return
        logits, state = step(new, state)


def _write_rows(rows: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda whole, part: whole.index_copy(0, rows.to(whole.device), part)


def _mix(seed: int, sample: int) -> int:
    # Neighbouring seeds and samples must not share a stream, as seed + sample would.
    return int(np.random.SeedSequence((seed, sample)).generate_state(1)[0])
