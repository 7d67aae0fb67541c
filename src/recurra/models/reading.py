"""What a language model says of a window: scores of the next token, made where they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

__all__ = ["Reading"]


class Reading(NamedTuple):
    """The window as a model has read it, T steps of B rows; no (T, B, V) tensor is ever made of it.

    Args:
        features: (T, B, O) of each step.
        score: makes logits (N, V) of features (N, O).
    """

    features: Tensor
    score: Callable[[Tensor], Tensor]

    def logits(self, steps: Tensor) -> Tensor:
        """Return logits (N, V) of the token after each of N steps, numbered t · B + b, (N,) int64."""
        return self.score(self.features.flatten(0, 1)[steps])
