"""The forecaster: series in, the next values and how sure it is out, and the state between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recurra.cells import initialise, make_cell
from recurra.config import check_at_least
from recurra.data.series import Series, SeriesBatch, SeriesFormat, Windows, time_text
from recurra.engine import Policy, scan
from recurra.errors import ConfigError, DataError, StateError
from recurra.layers import Stack
from recurra.models.config import choose_config
from recurra.models.distributions import DISTRIBUTIONS, LEVELS, Placed
from recurra.models.forecaster_config import ForecasterConfig
from recurra.models.forecasts import Forecast, Marginals, Said, Sampled, calibrated_levels, make_forecasts
from recurra.models.loss import Loss
from recurra.models.modes import evaluating
from recurra.models.rollout import Rollout, RolloutState, RolloutStep
from recurra.models.units import Scaling, Units
from recurra.share import draw_rows
from recurra.state import map_leaves

__all__ = ["Forecaster", "Observed"]

PATHS = 200
"""Drawn where quantiles are counted among paths and nobody asked for a number."""


class Observed(NamedTuple):
    """What is kept of a series that was read: a state, of constant size.

    Args:
        state: of the network, and the last values, in standard units.
        units: what those are measured in.
        time: (1,) the last time, in microseconds since 1970, or the number that it is.
    """

    state: RolloutState
    units: Units
    time: Tensor


class Forecaster(nn.Module):
    """A recurrent network that forecasts by running on: one `scan` of a `Rollout` reads the past and says the future.

    Args:
        format: what the series have in common.
        config: settings; or give them one by one as keywords.
    """

    levels: Tensor

    def __init__(self, format: SeriesFormat, config: ForecasterConfig | None = None, **settings: Any) -> None:
        super().__init__()
        self.config = config = choose_config(ForecasterConfig, config, settings)
        self.format = format
        targets, covariates = len(format.targets), format.num_features
        lags = config.steps_back(format.season, format.context)
        relative = config.scaling == "window"
        width = Rollout.width(lags, targets, covariates, relative)
        cells = [make_cell(config.cell, i, o) for i, o in pairwise([width, *[config.hidden] * config.layers])]
        for cell in cells:
            initialise(cell)
        self.distribution = DISTRIBUTIONS[config.distribution]()
        self.rollout = Rollout(Stack(cells), self.distribution, lags, targets, covariates, relative)
        self.scaling = Scaling(format, relative)
        self.register_buffer("levels", torch.tensor(LEVELS, dtype=torch.float64))

    def fit_input(self, windows: Windows) -> None:
        """Take mean, deviation and movement from the training part; once, before training."""
        self.scaling.fit(windows)

    @property
    def memory(self) -> int:
        """Values R that the first state is made of."""
        return self.rollout.memory

    @property
    def _dtype(self) -> torch.dtype:
        return self.rollout.read_out.weight.dtype

    def _prepared(self, values: Tensor, covariates: Tensor) -> tuple[Tensor, Tensor, RolloutState, Units]:
        """Return values and covariates past `memory` as the network sees them, the state before, and the units."""
        first = self.memory
        units = self.scaling.units(values[:first])
        standard = self.scaling.standard(values, units, self._dtype)
        state = self.rollout.start(standard[:first], self.scaling.start_movement(standard))
        return standard[first:], self.scaling.covariates(covariates, self._dtype)[first:], state, units

    def _run(
        self,
        values: Tensor,
        known: Tensor,
        covariates: Tensor,
        state: RolloutState,
        *,
        noise: Tensor | None = None,
        backprop: Policy | None = None,
        backend: str = "auto",
    ) -> tuple[Placed, RolloutState]:
        """Scan T steps in standard units: values (T, B, D), known (T, B, 1), covariates (T, B, K)."""
        steps, rows, targets = values.shape
        mask = self._mask(values, steps, rows)
        noise = torch.zeros_like(values) if noise is None else noise
        said, state = scan(
            self.rollout,
            RolloutStep(values, known, covariates, noise, mask),
            state,
            backprop=backprop,
            backend=backend,
        )
        said = said.reshape(steps, rows, 2 + self.distribution.size, targets)
        return Placed(said[..., 0, :], said[..., 1, :], said[..., 2:, :]), state

    def _mask(self, like: Tensor, steps: int, rows: int) -> Tensor:
        size, p = self.rollout.stack.output_size, self.config.dropout
        if not (p and self.training):
            return like.new_ones(1, 1, 1).expand(steps, rows, 1)
        mask = draw_rows(lambda rows: torch.bernoulli(like.new_full((1, rows, size), 1 - p)) / (1 - p), rows, 1)
        return mask.expand(steps, rows, size)

    def loss(
        self, batch: SeriesBatch, *, sampling: float = 0.0, backprop: Policy | None = None, backend: str = "auto"
    ) -> Loss:
        """Return the nats of what is to be forecast, in standard units; of all values read, where samples are fed.

        A distribution without a density gives its own loss in their place.

        Args:
            sampling: probability that a value is taken for unknown and drawn, where samples are fed.
            backprop, backend: as in `recurra.scan`.
        """
        rest, covariates, state, _ = self._prepared(batch.values, batch.covariates)
        steps, ahead = len(rest), batch.context - self.memory
        noise, known = None, rest.new_ones(steps, batch.rows, 1)
        if self.config.feed == "mean":
            if sampling:
                raise ConfigError("sampling needs feed sample: fed with means, no value of the horizon is ever known")
            known[ahead:] = 0
        elif sampling:
            rows, targets = batch.rows, rest.shape[2]
            known = draw_rows(lambda rows: torch.bernoulli(rest.new_full((steps, rows, 1), 1 - sampling)), rows, 1)
            noise = draw_rows(lambda rows: self.distribution.noise(steps, rows, targets), rows, 1).to(rest)
        scored = ahead if self.config.feed == "mean" else 0
        placed, _ = self._run(rest, known, covariates[:steps], state, noise=noise, backprop=backprop, backend=backend)
        said = Placed(*(part[scored:] for part in placed))
        nats = self.distribution.nats(said, rest[scored:])
        return Loss(nats.sum(), torch.tensor(nats.numel()))

    def observe(self, series: Series, observed: Observed | None = None) -> Observed:
        """Read the next steps of one series, in constant memory.

        Args:
            series: the steps that follow those read before, one or more; the first time, at least `memory`.
            observed: what was kept of the steps before; not changed.
        Raises: StateError for steps that do not follow; DataError for too few at first.
        """
        values, covariates = torch.from_numpy(series.values), torch.from_numpy(self.format.features(series))
        values, covariates = (each.unsqueeze(1).to(self.levels.device) for each in (values, covariates))
        if observed is None:
            self._check_long(series)
            values, covariates, state, units = self._prepared(values, covariates)
        else:
            state, units = observed.state, observed.units
            values = self.scaling.standard(values, units, self._dtype)
            covariates = self.scaling.covariates(covariates, self._dtype)
            follows = self.format.clock.continued(_time(observed.time, self.format), 1)[1]
            if abs(_number(series.times[:1])[0] - _number(follows.reshape(1))[0]) > 0.1 * self._tick:
                here, next = time_text(series.times[0]), time_text(follows)
                raise StateError(f"series '{series.name}' goes on at {here}, but {next} comes next")
        state = self._go_on(values, covariates, state)
        return Observed(state, units, torch.from_numpy(_number(series.times[-1:])))

    @property
    def _tick(self) -> float:
        seconds = self.format.clock.seconds
        return self.format.step if seconds is None else seconds * 1e6

    def _check_long(self, series: Series) -> None:
        if len(series) < self.memory:
            raise DataError(
                f"series '{series.name}' has {len(series)} steps; a forecast needs at least the {self.memory} that"
                " the lags reach back to"
            )

    def forecast(
        self,
        observed: Observed,
        horizon: int | None = None,
        *,
        covariates: NDArray[np.float64] | None = None,
        paths: int = 0,
        seed: int = 0,
    ) -> Forecast:
        """Forecast from what was observed of one series.

        Args:
            horizon: steps; default the one trained for.
            covariates: (H, K) of those steps, if the format has any.
            paths: joint samples to return; they need feed sample.
            seed: of what is drawn.
        """
        horizon = self._check_horizon(horizon, paths)
        time = _time(observed.time, self.format)
        given = len(self.format.covariates)
        known = np.zeros((1 + horizon, given))
        if covariates is not None:
            known = np.concatenate([known[:1], np.asarray(covariates, np.float64)])
        elif given:
            known = known[:1]
        last = Series("observed", time, np.zeros((1, len(self.format.targets))), known)
        features = torch.from_numpy(self.format.features(last, horizon)[1:]).unsqueeze(1).to(self.levels.device)
        features = self.scaling.covariates(features, self._dtype)
        times = self.format.clock.continued(time, horizon)[1:]
        return self._forecasts(observed.state, observed.units, features, [times], paths, seed)[0]

    def predict(
        self,
        series: Sequence[Series],
        *,
        horizon: int | None = None,
        paths: int = 0,
        seed: int = 0,
        batch: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Forecast]:
        """Forecast what follows each series, from its last `context` steps, or from all if it has fewer.

        Args:
            horizon, paths, seed: as for `forecast`.
            batch: series read side by side.
            progress: called with how many are done, and of how many.
        Raises: DataError for a series shorter than `memory`.
        """
        horizon, done = self._check_horizon(horizon, paths), 0
        check_at_least(1, batch=batch)
        found: dict[int, Forecast] = {}
        for numbers in _alike([min(len(one), self.format.context) for one in series], batch):
            values, covariates, times = [], [], []
            for one in (series[number].last(self.format.context) for number in numbers):
                self._check_long(one)
                values.append(one.values)
                covariates.append(self.format.features(one, horizon))
                times.append(self.format.clock.continued(one.times, horizon)[len(one) :])
            known = SeriesBatch.of(values, covariates, numbers)
            found.update(zip(numbers, self.forecast_batch(known, times, paths=paths, seed=seed), strict=True))
            done += len(numbers)
            if progress is not None:
                progress(done, len(series))
        return [found[number] for number in range(len(series))]

    def forecast_batch(
        self, batch: SeriesBatch, times: Sequence[NDArray[Any]], *, paths: int = 0, seed: int = 0
    ) -> list[Forecast]:
        """Forecast from windows: all steps beyond the context of which covariates are known.

        Args:
            batch: only its context is looked at, and the covariates.
            times: of the steps to forecast, for each row.
        """
        state, units, covariates = self._read(batch.to(self.levels.device))
        return self._forecasts(state, units, covariates, times, paths, seed)

    def _read(self, batch: SeriesBatch) -> tuple[RolloutState, Units, Tensor]:
        """Read the contexts: the state after them, the units, and the covariates (H, B, K) of the rest."""
        values, covariates, state, units = self._prepared(batch.values[: batch.context], batch.covariates)
        state = self._go_on(values, covariates[: len(values)], state)
        return state, units, covariates[len(values) :]

    def _go_on(self, values: Tensor, covariates: Tensor, state: RolloutState) -> RolloutState:
        """Read known values in standard units, if there are any, and return the state after them."""
        if len(values):
            with torch.no_grad(), evaluating(self):
                _, state = self._run(values, values.new_ones(*values.shape[:2], 1), covariates, state)
        return state

    def _check_horizon(self, horizon: int | None, paths: int) -> int:
        check_at_least(1, horizon=horizon)
        check_at_least(0, paths=paths)
        if paths and self.config.feed != "sample":
            raise ConfigError("paths need a model that was trained with feed sample; this one is fed with means")
        return self.format.horizon if horizon is None else horizon

    def calibrate(self, windows: Windows, *, batch: int = 256, seed: int = 0) -> None:
        """Correct the levels of quantiles by what came of windows kept from training; once, after training.

        Paths and means stay as they are.
        Source: Kuleshov, Fenner & Ermon 2018.
        """
        found = []
        for start in range(0, len(windows), batch):
            part = windows.batch(range(start, min(start + batch, len(windows)))).to(self.levels.device)
            state, units, covariates = self._read(part)
            came = self.scaling.standard(part.values[part.context :], units, self._dtype)
            found.append(self._said(state, covariates, 0, seed).cdf(came).flatten())
        if found:
            self.levels.copy_(calibrated_levels(torch.cat(found)))

    def _said(self, state: RolloutState, covariates: Tensor, paths: int, seed: int) -> Said:
        """Run on from a state of B rows, with covariates (H, B, K)."""
        drawn = 1 if self.config.feed == "mean" else max(paths, PATHS)
        if drawn > 1:
            state = map_leaves(lambda leaf: leaf.repeat_interleave(drawn, 0), state)
            covariates = covariates.repeat_interleave(drawn, 1)
        steps, rows = covariates.shape[:2]
        unknown = covariates.new_zeros(steps, rows, len(self.format.targets))
        noise = unknown
        if drawn > 1:  # the same for every row, so that none depends on which others are beside it
            generator = torch.Generator().manual_seed(seed)
            one = self.distribution.noise(steps, drawn, unknown.shape[2], generator=generator).to(unknown)
            noise = one.repeat(1, rows // drawn, 1)
        with torch.no_grad(), evaluating(self):
            placed, _ = self._run(unknown, unknown[..., :1], covariates, state, noise=noise)
        return Marginals(self.distribution, placed) if drawn == 1 else Sampled(placed, noise, drawn)

    def _forecasts(
        self,
        state: RolloutState,
        units: Units,
        covariates: Tensor,
        times: Sequence[NDArray[Any]],
        paths: int,
        seed: int,
    ) -> list[Forecast]:
        said = self._said(state, covariates, paths, seed)
        return make_forecasts(said, times, self.levels, lambda values: self.scaling.restored(values, units), paths)


def _alike(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Group numbers of equal lengths, at most `batch` together."""
    for length in sorted(set(lengths)):
        numbers = [number for number, found in enumerate(lengths) if found == length]
        yield from (numbers[start : start + batch] for start in range(0, len(numbers), batch))


def _number(times: NDArray[Any]) -> NDArray[Any]:
    """Return times as numbers that keep them: microseconds of a date."""
    return times.astype("datetime64[us]").astype(np.int64) if times.dtype.kind == "M" else times.astype(np.float64)


def _time(number: Tensor, format: SeriesFormat) -> NDArray[Any]:
    """Undo `_number`."""
    values = number.cpu().numpy()
    return values if format.unit == "number" else values.astype("datetime64[us]")
