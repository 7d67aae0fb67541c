"""What baselines learn from: examples with targets, or a fixed part of them where all are too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recurra.data.examples import Examples
from recurra.errors import DataError

__all__ = ["check_assessable", "sample"]

SEED = 0


def check_assessable(examples: Examples) -> Sequence[Any]:
    """Return the targets. Raises: DataError if there are none."""
    if not len(examples):
        raise DataError("there are no examples to assess; give at least one")
    if examples.targets is None:
        raise DataError("examples without targets cannot be assessed; give the column or folder that holds them")
    return examples.targets


def sample(examples: Examples, most: int) -> Examples:
    """Return at most so many examples, always the same ones, in their order."""
    if len(examples) <= most:
        return examples
    chosen = np.random.default_rng(SEED).choice(len(examples), max(most, 1), replace=False)
    return examples.take(sorted(chosen.tolist()))
