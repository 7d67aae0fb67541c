"""The seam between models and what is done with their distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["Prefill", "Step", "read_by_steps"]

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""token (B,) int64 and a state of B rows -> logits (B, V) of the next token, state."""

Prefill = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""tokens (T, B) int64 and a state of B rows -> logits (B, V) of the token after the last, state."""


def read_by_steps(step: Step) -> Prefill:
    """Return a prefill for a model that has none of its own."""

    def prefill(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        for token in tokens:
            logits, state = step(token, state)
        return logits, state

    return prefill
