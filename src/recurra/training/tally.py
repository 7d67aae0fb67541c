"""What is added up from one line of metrics to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["NO_SUMS", "as_row"]

NO_SUMS = {"nats": 0.0, "norm": 0.0, "batches": 0, "lr": 0.0}
"""Loss, gradient norm, batches; and the last learning rate."""


def as_row(sums: Mapping[str, float]) -> dict[str, Any]:
    """Return the means, as a line of metrics has them; nothing where there was no batch."""
    if not (batches := sums["batches"]):
        return {}
    return {"loss_nats": sums["nats"] / batches, "grad_norm": sums["norm"] / batches, "lr": sums["lr"]}
