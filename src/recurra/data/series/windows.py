"""Windows over series: what was known at an origin, and what followed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.data.series.config import Series, SeriesFormat
from recurra.share import Share

__all__ = ["SeriesBatch", "WindowStream", "Windows"]


class SeriesBatch(NamedTuple):
    """Windows of B rows, side by side, in the units of the data.

    Args:
        values: (T, B, D) float64. The first `context` steps are known at the origin; what follows is to be forecast,
            and may be left out.
        covariates: (S, B, K) float64, S >= T, known of every step.
        context: steps known.
        numbers: (B,) int64, which window each row is.
        share: which rows of the whole batch these are, where several processes read it together; None for all.
    """

    values: Tensor
    covariates: Tensor
    context: int
    numbers: Tensor
    share: Share | None = None

    @classmethod
    def of(
        cls,
        values: Sequence[NDArray[np.float64]],
        covariates: Sequence[NDArray[np.float64]],
        numbers: Sequence[int] | NDArray[np.int64],
        context: int | None = None,
    ) -> SeriesBatch:
        """Put values (T, D) and covariates (S, K) of equal lengths side by side; context: default all T."""
        return cls(
            torch.from_numpy(np.stack(values, 1)),
            torch.from_numpy(np.stack(covariates, 1)),
            len(values[0]) if context is None else context,
            torch.as_tensor(np.asarray(numbers, np.int64)),
        )

    @property
    def rows(self) -> int:
        """Number of rows B."""
        return self.values.shape[1]

    def to(self, device: torch.device) -> SeriesBatch:
        """Return the batch on a device."""
        return self._replace(values=self.values.to(device), covariates=self.covariates.to(device))

    def of_all(self, found: Tensor) -> Tensor:
        """Return how many values the whole batch has to forecast, given () those that were found here."""
        return found if self.share is None else found * self.share.rows // self.share.size


class Windows:
    """All windows whose horizon lies within a part of each series; what they read may lie before it.

    Args:
        series: whole.
        format: says how much is read and how far is forecast.
        parts: (start, end) of that part in each series; default all.
    """

    def __init__(
        self, series: Sequence[Series], format: SeriesFormat, parts: Sequence[tuple[int, int]] | None = None
    ) -> None:
        self.series = list(series)
        self.format = format
        self.parts = [(0, len(one)) for one in self.series] if parts is None else list(parts)
        self._features = [format.features(one) for one in self.series]
        origins = []
        for number, (start, end) in enumerate(self.parts):
            first = max(start, format.context)
            at = np.arange(first, end - format.horizon + 1)
            origins.append(np.stack([np.full_like(at, number), at], 1))
        self.origins: NDArray[np.int64] = np.concatenate(origins) if origins else np.zeros((0, 2), np.int64)
        """(n, 2): of each window the number of its series and the steps known."""

    def __len__(self) -> int:
        return len(self.origins)

    def batch(self, numbers: Sequence[int] | NDArray[np.int64]) -> SeriesBatch:
        """Put windows side by side."""
        context, horizon = self.format.context, self.format.horizon
        values, covariates = [], []
        for number, origin in self.origins[np.asarray(numbers, np.int64)]:
            span = slice(origin - context, origin + horizon)
            values.append(self.series[number].values[span])
            covariates.append(self._features[number][span])
        return SeriesBatch.of(values, covariates, numbers, context)

    def times(self, number: int) -> NDArray[Any]:
        """Return the times of the horizon of a window."""
        series, origin = self.origins[number]
        times: NDArray[Any] = self.series[series].times[origin : origin + self.format.horizon]
        return times

    def known(self) -> list[Series]:
        """Return of each series what lies within the part."""
        return [
            Series(one.name, one.times[a:b], one.values[a:b], one.covariates[a:b])
            for one, (a, b) in zip(self.series, self.parts, strict=True)
        ]

    def stream(self, *, batch: int, seed: int = 0, epoch: int = 0) -> WindowStream:
        """Return the batches of an epoch: every window once, in an order that seed and epoch decide."""
        return WindowStream(self, batch, seed, epoch)


class WindowStream(Sequence[SeriesBatch]):
    """Batches of windows in random order; ``stream[k]`` is made when asked for.

    Args:
        windows: to draw from.
        batch: rows of a batch; the last may have fewer.
        seed, epoch: decide the order.
    """

    def __init__(self, windows: Windows, batch: int, seed: int, epoch: int) -> None:
        self._windows = windows
        self._batch = batch
        self._part: tuple[int, int] | None = None
        self._order = np.random.default_rng([seed, epoch]).permutation(len(windows))

    def __len__(self) -> int:
        return -(-len(self._order) // self._batch)

    def part(self, rank: int, size: int) -> Self:
        """Return the stream of the rows that process `rank` of `size` reads."""
        view = copy.copy(self)
        view._part = rank, size
        return view

    @overload
    def __getitem__(self, index: int) -> SeriesBatch: ...
    @overload
    def __getitem__(self, index: slice) -> list[SeriesBatch]: ...
    def __getitem__(self, index: int | slice) -> SeriesBatch | list[SeriesBatch]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        chosen = self._order[number * self._batch : (number + 1) * self._batch]
        if self._part is None:
            return self._windows.batch(chosen)
        share = Share.of(*self._part, len(chosen))
        return self._windows.batch(chosen[share.own])._replace(share=share)
