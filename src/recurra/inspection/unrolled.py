"""A network unrolled over a few tokens of real text: what it expects, and what each state has to do with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.config import check_at_least
from recurra.errors import DivergedError
from recurra.inspection.flow import state_gradients
from recurra.inspection.reading import carried_state, quiet, read_tokens
from recurra.layers import Zoneout
from recurra.models import LanguageModel
from recurra.state import named_leaves

__all__ = ["Unrolled", "measure_unrolled"]

WARMUP = 256
SEARCHED = 32
"""Tokens among which one is looked for that begins a word, so that the picture does too."""


@dataclass(frozen=True)
class Unrolled:
    """A few steps of a model on real text.

    Args:
        tokens: that are read, one per step, printable.
        targets: the real next token of each.
        layers: what each is, from the bottom up: "LSTM, 256 units".
        window: steps between the cuts of training; None if gradients are not truncated.
        probabilities: that the model gives each target.
        gradients: by layer, by step t, ‖∂L/∂s_t‖ of the last step's loss, relative to the largest of all. Nothing is
            cut in them, whatever the window.
    """

    tokens: list[str]
    targets: list[str]
    layers: list[str]
    window: int | None
    probabilities: list[float]
    gradients: list[list[float]]


def measure_unrolled(model: LanguageModel, tokens: Any, window: int | None, *, steps: int = 8) -> Unrolled:
    """Unroll a model over a few tokens from the middle of a text, where a word begins if there is one near.

    Args:
        tokens: (N,) int64. Up to 256 before the first step are read for the state to start from.
        window: of training, which is passed on.
        steps: fewer in a text that is shorter.
    Raises: CorpusError for a text of fewer than two tokens; DivergedError if the loss is no finite number.
    """
    check_at_least(1, steps=steps, window=window)
    ids = read_tokens(model, tokens, least=2)
    steps = min(steps, len(ids) - 1)
    start = _choose_start(model, ids, steps)
    read, target = ids[start : start + steps], ids[start + 1 : start + steps + 1]
    with quiet(model):
        state = carried_state(model, ids[max(0, start - WARMUP) : start].unsqueeze(1))
        with torch.no_grad():
            inputs = model.embedding(read.unsqueeze(1))
            features, _ = model.features(read.unsqueeze(1), state)
            chances = model.project(features.raw[:, 0]).double().softmax(-1)
        norms = state_gradients(model.stack, inputs, lambda output: model.nats(output, target[-1:]), state)
    by_time = norms[:, :steps, 0].flip(1).cpu()
    if not bool(by_time.isfinite().all() and chances.isfinite().all()):
        raise DivergedError("the loss of this model or its gradient is not a finite number; the run has diverged")
    largest = float(by_time.max())
    return Unrolled(
        [model.vocabulary.symbol(token) for token in read.tolist()],
        [model.vocabulary.symbol(token) for token in target.tolist()],
        [_describe(cell) for cell in model.stack.cells],
        window,
        chances.gather(1, target.unsqueeze(1))[:, 0].tolist(),
        (by_time / largest if largest else by_time).tolist(),
    )


def _choose_start(model: LanguageModel, ids: Tensor, steps: int) -> int:
    last = len(ids) - 1 - steps
    middle = min(max(0, len(ids) // 2 - steps // 2), last)
    for start in range(max(1, middle), min(middle + SEARCHED, last) + 1):
        before, first = (model.vocabulary.decode_bytes([token]) for token in ids[start - 1 : start + 1].tolist())
        if (before[-1:].isspace() and not first[:1].isspace()) or (first[:1] == b" " and first.strip()):
            return start
    return middle


def _describe(cell: Any) -> str:
    inner = cell.cell if isinstance(cell, Zoneout) else cell
    first = next(iter(named_leaves(cell.zero_state(1)).values()), None)
    units = "" if first is None else f", {first[0].numel()} units"
    return f"{type(inner).__name__}{units}"
