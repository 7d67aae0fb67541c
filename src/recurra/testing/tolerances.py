"""The one table of tolerances: how far two computations of the same numbers may differ, by type."""

from __future__ import annotations

import torch

__all__ = ["TOLERANCES"]

TOLERANCES: dict[torch.dtype, dict[str, float]] = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-10},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.bfloat16: {"rtol": 3e-2, "atol": 1e-2},
    torch.float16: {"rtol": 4e-3, "atol": 1e-3},
}
