"""What truncation costs: the gradient of windows that are cut, beside that of none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.config import check_at_least
from recurra.engine import Full, Policy, Truncated
from recurra.errors import DivergedError
from recurra.inspection.reading import carried_state, quiet, read_tokens, stretches, trained
from recurra.models import LanguageModel

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
    Returns: one entry per distinct window, ascending; nothing if no parameter is trained.
    Raises: CorpusError for a text of fewer than two tokens; DivergedError if a gradient is no finite number.
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
        state, text = carried_state(model, text[:warmup]), text[warmup:]

        def gradient(policy: Policy) -> Tensor:
            with torch.enable_grad():
                features, _ = model.features(text[:-1], state, backprop=policy)
                nats = model.nats(features.raw, text[1:])
            parts = torch.autograd.grad(nats, parameters, allow_unused=True)
            return torch.cat([part.flatten() for part in parts if part is not None])

        full = gradient(Full())
        return [_compare(w, full if w >= steps else gradient(Truncated(w)), full) for w in sorted(set(windows))]


def _compare(window: int, cut: Tensor, full: Tensor) -> TruncationError:
    cut, full = cut.double(), full.double()
    both, whole = float(cut.norm()), float(full.norm())
    if not (torch.isfinite(cut).all() and torch.isfinite(full).all()):
        raise DivergedError(f"the gradient at a window of {window} is not a finite number; the run has diverged")
    if not both or not whole:  # a perfect model has none
        return TruncationError(window, float(both == whole), float(both != whole))
    cosine = min(1.0, float(cut @ full) / (both * whole))
    return TruncationError(window, cosine, float((cut - full).norm()) / whole)
