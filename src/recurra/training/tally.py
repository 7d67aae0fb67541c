"""What a trainer counts, and adds up from one line of metrics to the next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.training.task import Validation
    from recurra.training.trainer import Trainer

__all__ = ["NO_SUMS", "as_row", "check_counts", "counts_of", "restore_counts"]

NO_SUMS = {"nats": 0.0, "norm": 0.0, "batches": 0, "lr": 0.0}
"""Loss, gradient norm, batches; and the last learning rate."""

COUNTS = ("epoch", "batch", "step", "stale_epochs")


def as_row(sums: Mapping[str, float], score: Validation | None = None) -> dict[str, Any]:
    """Return the means and a validation, as a line of metrics has them; no means where there was no batch."""
    row: dict[str, Any] = {}
    if batches := sums["batches"]:
        row = {"loss_nats": sums["nats"] / batches, "grad_norm": sums["norm"] / batches, "lr": sums["lr"]}
    if score is not None:
        row["valid_loss_nats"] = score.loss_nats
        row |= {f"valid_{name}": value for name, value in score.metrics.items()}
    return row


def counts_of(trainer: Trainer) -> dict[str, Any]:
    """Return where a trainer stands, as JSON can hold it."""
    best = trainer.best_loss
    return {
        **{name: getattr(trainer, name) for name in COUNTS},
        "best_loss": best if math.isfinite(best) else None,
        "stopped_early": trainer.stopped_early,
        "total_steps": trainer.total_steps,
        "sums": trainer.sums,
    }


def restore_counts(trainer: Trainer, values: Mapping[str, Any]) -> None:
    """Put back what `counts_of` gave."""
    for name in (*COUNTS, "stopped_early"):
        setattr(trainer, name, values[name])
    trainer.best_loss = math.inf if values["best_loss"] is None else values["best_loss"]
    trainer.sums = dict(values["sums"])


def check_counts(values: Mapping[str, Any], total_steps: int) -> None:
    """Raise ValueError for a checkpoint whose counters and sums are no numbers, or of a training of other length."""
    if (before := values.get("total_steps", total_steps)) != total_steps:
        raise ValueError(f"it is of a training of {before} steps, and the settings give {total_steps:,}")
    wrong = [name for name in COUNTS if not (type(values[name]) is int and 0 <= values[name] < 2**62)]
    wrong += [name for name in NO_SUMS if type(values["sums"][name]) not in (int, float)]
    wrong += ["best_loss"] if type(values["best_loss"]) not in (int, float, type(None)) else []
    if wrong:
        raise ValueError(f"no number: {', '.join(wrong)}")
