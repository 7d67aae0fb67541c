"""What training minimises: the loss per token, and what regularises the activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.data import NOTHING
from recurra.models import LanguageModel

if TYPE_CHECKING:
    from recurra.training.config import TrainingConfig

__all__ = ["objective"]


def objective(
    model: LanguageModel, config: TrainingConfig, inputs: Tensor, targets: Tensor, state: Any, reset: Tensor | None
) -> tuple[Tensor, Tensor, Any]:
    """Read a window and return what is minimised, the mean nats per predicted token, and the state after it.

        loss = nats + α · mean(dropped h²) + β · mean((h_t - h_{t-1})²)        α = ar, β = tar

    Args:
        inputs, targets: (T, B) int64; a target of -1 is nothing to predict.
        state: carried state of B rows, or None for a fresh one.
        reset: (T, B) bool, or None.
    Gradient: into the parameters and the given state.
    Source: AR and TAR Merity, McCann & Socher 2017.
    """
    backends = config.backends if len(config.backends) > 1 else config.backend
    features, state = model.features(inputs, state, reset=reset, backprop=config.policy, backend=backends)
    counted = slice(-1, None) if config.predict == "last" else slice(None)
    wanted = targets[counted]
    # At least 1: a window may have no target, at the very end of a corpus.
    nats = model.nats(features.dropped[counted], wanted) / torch.clamp((wanted != NOTHING).sum(), min=1)
    loss = nats
    if config.ar:
        loss = loss + config.ar * features.dropped.square().mean()
    if config.tar and len(features.raw) > 1:
        loss = loss + config.tar * features.raw.diff(dim=0).square().mean()
    return loss, nats.detach(), state
