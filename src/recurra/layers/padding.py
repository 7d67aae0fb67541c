"""Which steps of padded sequences are theirs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["valid_steps", "zero_padding"]


def valid_steps(lengths: Tensor, steps: int, device: torch.device | None = None) -> Tensor:
    """Return (T, B) bool: is step t within row b?

    Args:
        lengths: (B,) int, valid steps of each row.
        steps: T.
        device: of the result; default that of the lengths.
    """
    device = lengths.device if device is None else device
    return torch.arange(steps, device=device).unsqueeze(1) < lengths.to(device)


def zero_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Return x (T, B, F) with zeros past the end of each row, whatever was there.

    Gradient: none into what lies past the end.
    """
    return x.masked_fill(~valid_steps(lengths, len(x), x.device).unsqueeze(-1), 0)
