"""Sequences side by side: padded, with their lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from recurra.share import Share

__all__ = ["ExampleBatch", "Padded", "pad"]


class Padded(NamedTuple):
    """Sequences of B rows, padded to the longest.

    Args:
        values: tokens (T, B) int64, or numbers (T, B, F) float; zero past a row's end. Pictures are (B, C, H, W) float.
        lengths: (B,) int64, valid steps of each row, at least 1; None for pictures, which have no time.
    """

    values: Tensor
    lengths: Tensor | None

    @property
    def rows(self) -> int:
        """Number of rows B."""
        return len(self.values) if self.lengths is None else len(self.lengths)

    def to(self, device: torch.device) -> Padded:
        """Return them on a device; lengths stay where they are."""
        return self._replace(values=self.values.to(device))


class ExampleBatch(NamedTuple):
    """Examples that are read together.

    Args:
        inputs: what is read.
        targets: what is to be said, int64, -1 where there is nothing: a label of each row (B,), a label of each step
            (T, B), or the tokens of a text (S, B), its end included. None where nothing is known.
        numbers: (B,) int64, which example each row is.
        share: which rows of the whole batch these are, where several processes read it together; None for all.
        counted: then, how many targets the whole batch has.
    """

    inputs: Padded
    targets: Tensor | None
    numbers: Tensor
    share: Share | None = None
    counted: int = 0

    def to(self, device: torch.device) -> ExampleBatch:
        """Return the batch with what a model computes with on a device."""
        targets = None if self.targets is None else self.targets.to(device)
        return self._replace(inputs=self.inputs.to(device), targets=targets)

    def of_all(self, found: Tensor) -> Tensor:
        """Return how many targets the whole batch has, given () those that were found here."""
        return found if self.share is None else torch.full_like(found, self.counted)


def pad(sequences: Sequence[Any], filling: float = 0) -> Padded:
    """Put sequences (T_b, ...) of one type side by side as (T, B, ...), T the longest."""
    lengths = np.array([len(sequence) for sequence in sequences])
    first = np.asarray(sequences[0])
    dtype = np.int64 if np.issubdtype(first.dtype, np.integer) else np.float32
    values = np.full((int(lengths.max()), len(sequences), *first.shape[1:]), filling, dtype)
    for row, sequence in enumerate(sequences):
        values[: len(sequence), row] = sequence
    return Padded(torch.from_numpy(values), torch.from_numpy(lengths))
