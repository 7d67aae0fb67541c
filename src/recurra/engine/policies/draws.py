"""Random numbers of policies."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["torch_seeded"]


def torch_seeded() -> np.random.Generator:
    """Return a generator whose seed is drawn from torch's, so that one seed decides everything."""
    return np.random.default_rng(int(torch.randint(2**62, ()).item()))
