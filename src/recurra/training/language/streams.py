"""The windows that a training reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from recurra.data import Batch, RandomStream, Reordered, SequentialStream, Tokens

if TYPE_CHECKING:
    from recurra.training.config import TrainingConfig

__all__ = ["count_steps", "make_stream"]


def make_stream(tokens: Tokens, config: TrainingConfig, epoch: int) -> Sequence[Batch]:
    """Return the windows of one epoch: the same for the same seed and epoch."""
    rows, span, seed = config.batch, config.policy.span, config.seed
    if config.partition == "random":
        return RandomStream(tokens, rows=rows, span=span, seed=seed, epoch=epoch, shuffle=config.shuffle)
    offset = int(np.random.default_rng([seed, epoch]).integers(len(tokens))) if config.shuffle else 0
    if config.order != "corpus":
        tokens = Reordered.drawn(tokens, config.order, [seed, epoch, 2])
    spans = None
    if not config.policy.has_equal_spans:
        spans = partial(config.policy.spans, random=np.random.default_rng([seed, epoch, 1]))
    return SequentialStream(tokens, rows=rows, span=span, offset=offset, spans=spans)


def count_steps(tokens: Tokens, config: TrainingConfig) -> int:
    """Return how many windows there are in all epochs."""
    # Random windows are cut at another phase every epoch, or have other lengths: one more or less of them.
    if config.partition == "sequential" and config.policy.has_equal_spans:
        return config.epochs * len(make_stream(tokens, config, 0))
    return sum(len(make_stream(tokens, config, epoch)) for epoch in range(config.epochs))
