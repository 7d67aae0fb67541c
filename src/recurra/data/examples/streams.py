"""Examples in batches of like length, by number: each of them once per epoch, none padded much."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.data.examples.batches import ExampleBatch, Padded
from recurra.data.examples.examples import Examples
from recurra.data.examples.inputs import Input
from recurra.data.examples.targets import StepLabels, Target
from recurra.data.streams import NOTHING
from recurra.errors import DataError
from recurra.share import Share

__all__ = ["BucketStream", "encode"]

BATCHES_PER_CHUNK = 50
"""Batches that are sorted by length together: more leave less padding, fewer more of chance."""

Encoded = tuple[Any, Any]


class BucketStream(Sequence[ExampleBatch]):
    """Batches by number, each made in constant time, so that training can resume at any of them.

    Examples are shuffled and cut into chunks; those of a chunk are sorted by length and cut into batches, which are
    shuffled in their turn. The last batch of all may be smaller.

    Args:
        encoded: what `encode` gave: (input, target or None) of each example.
        input, target: how to put them side by side; `target` may be None where none is known.
        rows: B.
        seed, epoch: what the order depends on.
        shuffle: False sorts all by length, for validation.
    Raises: DataError for fewer than one row.
    """

    def __init__(
        self,
        encoded: Sequence[Encoded],
        input: Input,
        target: Target | None,
        *,
        rows: int,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = True,
    ) -> None:
        if rows < 1:
            raise DataError(f"a batch needs at least 1 row, not {rows}")
        self._encoded, self._input, self._target = encoded, input, target
        count = len(encoded)
        lengths = np.array([_length(x) + _length(y) for x, y in encoded], np.int64)
        random = np.random.default_rng([seed, epoch]) if shuffle else None
        order = random.permutation(count) if random else np.arange(count)
        chunk = rows * BATCHES_PER_CHUNK if random else max(count, 1)
        cuts: list[NDArray[np.int64]] = []
        for start in range(0, count, chunk):
            numbers = order[start : start + chunk]
            numbers = numbers[np.argsort(lengths[numbers], kind="stable")]
            cuts += [numbers[first : first + rows] for first in range(0, len(numbers), rows)]
        self._part: tuple[int, int] | None = None
        self._batches = [cuts[k] for k in random.permutation(len(cuts))] if random else cuts

    def __len__(self) -> int:
        return len(self._batches)

    def part(self, rank: int, size: int) -> Self:
        """Return the stream of the rows that process `rank` of `size` reads, padded as the whole batches are."""
        view = copy.copy(self)
        view._part = rank, size
        return view

    @overload
    def __getitem__(self, index: int) -> ExampleBatch: ...
    @overload
    def __getitem__(self, index: slice) -> list[ExampleBatch]: ...
    def __getitem__(self, index: int | slice) -> ExampleBatch | list[ExampleBatch]:
        if isinstance(index, slice):
            return [self._batch(numbers) for numbers in self._batches[index]]
        return self._batch(self._batches[index])

    def _batch(self, numbers: NDArray[np.int64]) -> ExampleBatch:
        chosen = [self._encoded[n] for n in numbers]
        known = self._target is not None and all(y is not None for _, y in chosen)
        targets = self._target.collate([y for _, y in chosen]) if self._target is not None and known else None
        if self._part is None:
            return ExampleBatch(self._input.collate([x for x, _ in chosen]), targets, torch.from_numpy(numbers))
        share, counted = Share.of(*self._part, len(chosen)), 0
        if targets is not None:
            counted, targets = int((targets != NOTHING).sum()), share.take(targets, -1)
        inputs = self._input.collate([x for x, _ in chosen[share.own]])
        if inputs.lengths is not None:
            inputs = _padded(inputs, max(len(x) for x, _ in chosen))
        return ExampleBatch(inputs, targets, torch.from_numpy(numbers[share.own]), share, counted)


def encode(examples: Examples, input: Input, target: Target | None = None) -> list[Encoded]:
    """Return (input, target) of each example as numbers; the target is None where none is known or asked for.

    Raises: DataError, naming the place, for an example that cannot be used.
    """
    targets = examples.targets if target is not None else None
    encoded = []
    for number, raw in enumerate(examples.inputs):
        try:
            x = input.encode(raw)
            y = None if target is None or targets is None else target.encode(targets[number])
        except DataError as error:
            raise DataError(f"{examples.places[number]}: {error}") from None
        if isinstance(target, StepLabels) and y is not None and len(x) != len(y):
            raise DataError(
                f"{examples.places[number]}: {len(y):,} labels for {len(x):,} steps; give one label for each"
            )
        encoded.append((x, y))
    return encoded


def _padded(inputs: Padded, steps: int) -> Padded:
    """Return sequences with zeros up to so many steps."""
    rest = inputs.values.new_zeros(steps - len(inputs.values), *inputs.values.shape[1:])
    return inputs._replace(values=torch.cat([inputs.values, rest]))


def _length(encoded: Any) -> int:
    """Steps of a sequence; what has no time counts nothing."""
    return len(encoded) if isinstance(encoded, np.ndarray) and encoded.ndim < 3 else 0
