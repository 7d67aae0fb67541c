"""Tokens that are never written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.decoding.controls import Control

__all__ = ["Withheld"]


class Withheld(Control):
    """Keeps tokens from ever being drawn, whatever the model makes of them.

    Args:
        tokens: their ids.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = torch.tensor(list(tokens), dtype=torch.int64)

    def start(self, prompt: Tensor) -> Any:
        """Remember nothing."""
        return ()

    def apply(self, logits: Tensor, state: Any) -> Tensor:
        """Return the scores with -inf for the tokens."""
        return logits.index_fill(1, self.tokens.to(logits.device), -torch.inf)
