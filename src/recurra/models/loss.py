"""What a model says about a batch whose targets are known."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import cross_entropy

from recurra.data.streams import NOTHING

__all__ = ["Loss", "label_loss"]


class Loss(NamedTuple):
    """A loss, summed over what was to be said.

    Args:
        nats: () with the graph of its gradient.
        count: () int64, targets that count.
        correct: () int64, how many of them are what the model holds most likely; None where that means nothing.
    """

    nats: Tensor
    count: Tensor  # type: ignore[assignment]  # which a tuple has as a method
    correct: Tensor | None = None


def label_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Loss:
    """Return the loss of labels under the softmax of logits.

        nats = Σ_n  -(1 - ε) ln p(target_n) - ε/C Σ_c ln p(c)

    Args:
        logits: (..., C) float.
        targets: (...) int64; -1 counts nothing.
        smoothing: ε, share of a target that is spread over all classes.
    Source: label smoothing Szegedy et al. 2016.
    """
    logits, targets = logits.reshape(-1, logits.shape[-1]), targets.flatten()
    nats = cross_entropy(logits, targets, ignore_index=NOTHING, reduction="sum", label_smoothing=smoothing)
    return Loss(nats, (targets != NOTHING).sum(), (logits.detach().argmax(-1) == targets).sum())
