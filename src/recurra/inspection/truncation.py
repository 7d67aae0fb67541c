"""What truncation costs: the gradient of windows that are cut, beside that of none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.config import check_at_least
from recurra.data import NOTHING
from recurra.inspection.reading import carried_state, quiet, read_tokens, stretches, trained
from recurra.models import LanguageModel
from recurra.state import map_leaves

__all__ = ["TruncationError", "measure_truncation"]

TOKENS_LOOKED_AT = 4096
MOST_STEPS = 2048
"""Steps of the full gradient; a window of as many or more is measured as the full one."""


@dataclass(frozen=True)
class TruncationError:
    """A truncated gradient beside the full one.

    Args:
        window: steps between cuts.
        cosine: between both, over all parameters.
        relative_error: ‖truncated - full‖ / ‖full‖.
    """

    window: int
    cosine: float
    relative_error: float


def measure_truncation(
    model: LanguageModel, tokens: Any, windows: Sequence[int], *, steps: int | None = None
) -> list[TruncationError]:
    """Compare truncated gradients with the full one, of the summed nats of the same stretches of a text.

    Truncation cuts as training does: at the border of every window, with the state's value carried across.

    Args:
        tokens: (N,) int64.
        windows: steps between cuts. From `steps` on nothing is cut, and the cosine is 1.
        steps: length of the stretches; default four times the longest window, as far as the text and 2,048 steps
            allow. About 4,096 tokens are read, each stretch after a warm-up that gives it a state to start from.
    Returns: one entry per distinct window, ascending; nothing if no parameter is trained, or if the full gradient is
        beyond what numbers of its type can hold, as explosion makes it.
    Raises: CorpusError for a text of fewer than two tokens.
    """
    check_at_least(1, steps=steps, **{f"windows[{n}]": window for n, window in enumerate(windows)})
    ids = read_tokens(model, tokens, least=2)
    parameters = trained(model)
    if not parameters or not windows:
        return []
    steps = min(steps or min(4 * max(windows), MOST_STEPS), len(ids) - 1)
    warmup = min(steps, len(ids) - 1 - steps)
    with quiet(model):
        text = stretches(ids, max(1, TOKENS_LOOKED_AT // steps), warmup + steps + 1)
        states = _states(model, text[warmup:-1], carried_state(model, text[:warmup]))
        text = text[warmup:]
        full = _gradient(model, parameters, text, states, steps)
        if not bool(full.isfinite().all()):
            return []
        cuts = sorted(set(windows))
        return [_compare(w, full if w >= steps else _gradient(model, parameters, text, states, w), full) for w in cuts]


@torch.no_grad()
def _states(model: LanguageModel, text: Tensor, state: Any) -> list[Any]:
    """Return the state before each step of a text (T, B)."""
    before = []
    for x in model.embedding(text):
        before.append(state)
        _, state = model.stack.step(x, state)
    return before


def _gradient(model: LanguageModel, parameters: list[Tensor], text: Tensor, states: list[Any], window: int) -> Tensor:
    """Return the gradient of the nats of a text (T + 1, B), cut at the border of every window; all parameters in one.

    Once every window has the state that it starts from, none needs the one before: all are read side by side.
    """
    start = map_leaves(lambda *leaves: torch.cat(leaves), *states[::window])
    read, targets = (_side_by_side(piece, window, fill) for piece, fill in ((text[:-1], 0), (text[1:], NOTHING)))
    with torch.enable_grad():
        features, _ = model.features(read, start)
        nats = model.nats(features.raw, targets)
    parts = torch.autograd.grad(nats, parameters, allow_unused=True)
    return torch.cat([part.flatten() for part in parts if part is not None])


def _side_by_side(text: Tensor, window: int, fill: int) -> Tensor:
    """Cut a text (T, B) into K windows, the last one filled up: (window, K·B)."""
    short = -len(text) % window
    whole = torch.cat([text, text.new_full((short, text.shape[1]), fill)])
    return whole.reshape(-1, window, text.shape[1]).transpose(0, 1).flatten(1).contiguous()


def _compare(window: int, cut: Tensor, full: Tensor) -> TruncationError:
    cut, full = cut.double(), full.double()
    both, whole = float(cut.norm()), float(full.norm())
    if not both or not whole:  # a perfect model has none
        return TruncationError(window, float(both == whole), float(both != whole))
    cosine = 1.0 if torch.equal(cut, full) else min(1.0, float(cut @ full) / (both * whole))
    return TruncationError(window, cosine, float((cut - full).norm()) / whole)
