"""Forecasting as a task: windows of series, of which the end is to be said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recurra.checkpoint import RunDirectory, read_json, write_atomically
from recurra.data.series import (
    Series,
    SeriesBatch,
    SeriesConfig,
    SeriesData,
    SeriesFormat,
    Windows,
    read_series,
    time_text,
)
from recurra.decoding import Beam
from recurra.errors import ConfigError, DataError, RunError
from recurra.evaluation import Assessment, backtest
from recurra.figures import BANDS, Fan, Trajectory, plot_forecast
from recurra.models import Forecaster, ForecasterConfig
from recurra.training.answering import VALIDATION_ROWS, AnsweringTask
from recurra.training.config import ExamplesConfig, RunConfig
from recurra.training.task import Progress, Scale

if TYPE_CHECKING:
    from recurra.training.run import Run

__all__ = ["ForecastTask", "Histories"]

SAMPLES = 10
"""Epochs after which the windows that are shown begin again, about."""
MAIN = "rmse"
PANELS = {1: 6, 2: 4}
"""Origins that are drawn, by the number of targets."""
SHOWN_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles in the rows of `answer`."""


class Histories(Windows):
    """Series that were read after training, and all windows over them.

    Args:
        notes: lines that a user should read.
    """

    def __init__(self, series: Sequence[Series], format: SeriesFormat, notes: Sequence[str], *, answered: bool) -> None:
        super().__init__(series, format)
        self.notes = list(notes)
        self.answered = answered

    def __len__(self) -> int:
        return super().__len__() if self.answered else len(self.series)


class ForecastTask(AnsweringTask):
    """Batches of windows, in another order in every epoch; each is read from its own beginning."""

    name = "forecast"
    data_settings = SeriesConfig
    model_settings = ForecasterConfig
    training_settings = ExamplesConfig
    model_class = Forecaster

    model: Forecaster
    data: SeriesData
    config: ExamplesConfig

    @classmethod
    def default_config(cls) -> RunConfig:
        """Return the settings of a run for which nothing is asked."""
        training = ExamplesConfig(batch=128, epochs=5, lr=2e-3)
        return RunConfig(task=cls.name, data=SeriesConfig(source=""), model=ForecasterConfig(), training=training)

    @classmethod
    def make_data(cls, config: RunConfig, progress: Progress | None = None) -> SeriesData:
        """Read, check and split the series."""
        return SeriesData.build(config.data)

    @classmethod
    def make_model(cls, config: RunConfig, data: SeriesData) -> Forecaster:
        """Build the model for what the series have in common."""
        return Forecaster(data.format, config.model)

    def describe(self, directory: RunDirectory) -> None:
        """Write what the series have in common, and the series."""
        text = json.dumps(self.data.format.as_mapping(), indent=1, ensure_ascii=False)
        write_atomically(directory.path / "series.json", text.encode())
        self.data.save(directory.examples)

    @classmethod
    def load_model(cls, directory: RunDirectory, config: RunConfig) -> Forecaster:
        """Build the model of a run."""
        path = directory.path / "series.json"
        try:
            format = SeriesFormat.from_mapping(read_json(path))
        except (TypeError, AttributeError, ConfigError) as error:
            raise RunError(f"{path} is damaged: {error}") from error
        return Forecaster(format, config.model)

    @classmethod
    def load_data(cls, directory: RunDirectory) -> SeriesData:
        """Read the series of a run."""
        return SeriesData.load(directory.examples)

    @classmethod
    def facts(cls, run: Run) -> dict[str, Any]:
        """What is forecast from what, and how many series and windows there are."""
        format, data = run.model.format, run.data if run.has_data else None
        names = ("train", "valid", "test")
        parts = {} if data is None else {f"{name}_windows": len(getattr(data, name)) for name in names}
        return {
            "targets": ", ".join(format.targets),
            "covariates": ", ".join(format.covariates) or None,
            "horizon": format.horizon,
            "context": format.context,
            "season": format.season,
            "data": run.config.data.source,
            **({} if data is None else {"series": len(data.series)}),
            **parts,
        }

    def check(self) -> None:
        """Raise ConfigError if the model forecasts other series."""
        if self.model.format != self.data.format:
            raise ConfigError("the model was built for other series; build it with data.format")
        if self.config.sampling and self.model.config.feed == "mean":
            raise ConfigError("'sampling' needs feed 'sample': fed with means, no value of the horizon is ever known")

    def prepare(self, fresh: bool) -> str | None:
        """Let the model measure the training part before the first step."""
        if fresh:
            self.model.fit_input(self.data.train)
        return None

    def finish(self, run: Run) -> None:
        """Correct the intervals by what came of the validation part, which training has not seen."""
        run.model.calibrate(run.data.valid)
        run.directory.write_model(run.model.state_dict())

    @property
    def scale(self) -> Scale:
        """Windows."""
        return Scale("windows", min(self.config.batch, len(self.data.train)))

    def validation_batches(self) -> Sequence[SeriesBatch]:
        """Return the windows of the validation part."""
        return self.data.valid.stream(batch=VALIDATION_ROWS)

    def sample(self, number: int) -> str:
        """Show a forecast of the last step of a window, and what came."""
        windows = self.data.valid if self.has_validation else self.data.train
        chosen = number * max(1, len(windows) // SAMPLES) % len(windows)
        batch, times = windows.batch([chosen]), windows.times(chosen)
        (forecast,) = self.model.forecast_batch(batch.to(self.device), [times])
        low, high = (forecast.quantiles[level][-1, 0] for level in (0.05, 0.95))
        said, came = forecast.mean[-1, 0], float(batch.values[-1, 0, 0])
        name = windows.format.targets[0]
        return f"{name} at {time_text(times[-1])}: {said:.4g}, between {low:.4g} and {high:.4g}; it was {came:.4g}"

    # -- questions ------------------------------------------------------------------------------------------------

    @classmethod
    def read(
        cls, run: Run, source: str, *, answered: bool, skip_bad: bool, progress: Progress | None = None
    ) -> Histories:
        """Read series with the columns of the run's own; with `skip_bad`, gaps are filled."""
        gaps = "fill" if skip_bad else run.config.data.gaps
        table = read_series(replace(run.config.data, source=source, gaps=gaps, rows=None), source)
        format: SeriesFormat = run.model.format
        if table.clock != format.clock:
            raise DataError(f"{source}: its times are {table.clock.text} apart, those of the run {format.clock.text}")
        return Histories(table.series, format, table.notes, answered=answered)

    @classmethod
    def assess(
        cls, run: Run, questions: Windows, progress: Progress | None = None, beam: Beam | None = None
    ) -> Assessment:
        """Back-test the model: a forecast from every origin, beside the simplest ones."""
        found = backtest(run.model, questions, train=run.data.train, progress=progress)
        return Assessment(
            "forecast", found["metrics"], found["baselines"], MAIN, found["windows"], found["seconds"], found
        )

    @classmethod
    def answer(
        cls, run: Run, questions: Histories, progress: Progress | None = None, beam: Beam | None = None
    ) -> list[dict[str, Any]]:
        """Return a row for each series, step and target that follows what was read."""
        rows = []
        forecasts = run.model.predict(questions.series, progress=progress)
        for series, forecast in zip(questions.series, forecasts, strict=True):
            for step, time in enumerate(forecast.times):
                for column, target in enumerate(run.model.format.targets):
                    levels = {f"q{100 * q:02.0f}": float(forecast.quantiles[q][step, column]) for q in SHOWN_LEVELS}
                    said = {"mean": float(forecast.mean[step, column]), **levels}
                    rows.append({"series": series.name, "time": time_text(time), "target": target, **said})
        return rows

    @classmethod
    def draw(cls, run: Run, questions: Windows, assessment: Assessment, name: str) -> list[Path]:
        """Draw forecasts from a few origins: fans, or paths where two targets are a place in the plane."""
        targets = questions.format.targets
        count = min(PANELS.get(len(targets), PANELS[1]), len(questions))
        chosen = [(2 * k + 1) * len(questions) // (2 * count) for k in range(count)]
        batch, times = questions.batch(chosen), [questions.times(k) for k in chosen]
        forecasts = run.model.forecast_batch(batch, times)
        past, future = batch.values[: batch.context].numpy(), batch.values[batch.context :].numpy()
        panels: list[Fan | Trajectory] = []
        for row, forecast in enumerate(forecasts):
            title, q = f"from {time_text(times[row][0])}", forecast.quantiles
            if len(questions.series) > 1:
                title = f"{questions.series[questions.origins[chosen[row], 0]].name}, {title}"
            if len(targets) == 2:
                panels.append(Trajectory(title, past[:, row], forecast.mean, None, future[:, row]))
            else:
                bands = {b: (q[round(0.5 - b / 2, 2)][:, 0], q[round(0.5 + b / 2, 2)][:, 0]) for b in BANDS}
                panels.append(Fan(title, past[:, row, 0], q[0.5][:, 0], bands, future[:, row, 0]))
        path = run.directory.report / f"{name}-forecast.png"
        unit = "" if len(targets) == 2 else targets[0]
        title = f"forecast of {', '.join(targets)}: {name}"
        plot_forecast(panels, path, title=title, subtitle=assessment.headline, unit=unit)
        return [path]
