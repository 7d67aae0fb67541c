"""Scoring the validation part by the protocol of the training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recurra.data import RandomStream, SequentialStream, Stream, Tokens
from recurra.evaluation import Score, evaluate, measure
from recurra.models import LanguageModel
from recurra.processes import ALONE, Processes

if TYPE_CHECKING:
    from recurra.training.config import TrainingConfig

__all__ = ["validate"]

ROW = 8192
"""Tokens per row of a quick validation: long enough that where a text is cut does not matter."""

MAX_ROWS = 64
WARMUP = 256


def validate(
    model: LanguageModel,
    tokens: Tokens,
    config: TrainingConfig,
    *,
    exact: bool = False,
    progress: Callable[[int, int], None] | None = None,
    processes: Processes = ALONE,
) -> Score | None:
    """Score tokens as the model was trained: carried or fresh states, every prediction or the last of each window.

    Args:
        exact: read a stream in one row, as `evaluate` does, rather than in several that are warmed up.
        processes: that share the rows.
    Returns: the score, or None where there is nothing to score.
    """
    if not len(tokens):
        return None
    shared: Any = {"progress": progress, "processes": processes}
    last_only, span = config.predict == "last", config.policy.span
    if config.partition == "random":
        windows: Stream = RandomStream(tokens, rows=config.batch, span=span, shuffle=False)
        return measure(model, windows, last_only=last_only, **shared)
    if last_only:
        windows = SequentialStream(tokens, rows=min(config.batch, len(tokens) // 2), span=span)
        return measure(model, windows, last_only=True, **shared)
    rows = 1 if exact else min(MAX_ROWS, max(1, len(tokens) // ROW))
    return evaluate(model, tokens, batch=rows, warmup=WARMUP if rows > 1 else 0, **shared)
