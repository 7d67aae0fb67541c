"""Where series come from, what is asked of them, and what a model must know to read others of the kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.config import check_at_least, check_choice
from recurra.data.series.times import Clock, calendar
from recurra.errors import ConfigError, DataError

__all__ = ["GAPS", "TRANSFORMS", "Series", "SeriesConfig", "SeriesFormat"]

TRANSFORMS = ("none", "log")
CALENDARS = ("auto", "none")
GAPS = ("error", "fill")


@dataclass(frozen=True, kw_only=True)
class SeriesConfig:
    """Which columns of a table are series, what is to be forecast, and from how much.

    Args:
        source: a CSV file, one row for each time; TSV by its ending.
        time: column of dates or rising numbers. Default: one called date, time, timestamp, month or the like.
        target: column to be forecast, or several, separated by commas. Default: the last column.
        series: column that names the series, where the file holds several.
        covariates: columns that are known for the time forecast too, separated by commas.
        calendar: auto adds the place in the day, the week and the year, where these are seen at least twice; or none.
        horizon: steps to forecast.
        context: steps read before. Default: nine seasons, or 64 where there is no season; a third of the training part
            at most.
        season: steps after which patterns come again. Default: by the times (24 hours, 7 days, 12 months); 1 is none.
        transform: none, or log: the model sees logarithms.
        gaps: what happens to empty cells and times left out: error, or fill, which draws straight lines across them.
        rows: read only the first rows of each series.
        valid, test: the end of each series, for validation and, after it, for a test that training never sees: a
            fraction below 1, or a number of rows.
    """

    source: str
    time: str | None = None
    target: str | None = None
    series: str | None = None
    covariates: str = ""
    calendar: str = "auto"
    horizon: int = 1
    context: int | None = None
    season: int | None = None
    transform: str = "none"
    gaps: str = "error"
    rows: int | None = None
    valid: float = 0.1
    test: float = 0.0

    def __post_init__(self) -> None:
        check_choice(TRANSFORMS, transform=self.transform)
        check_choice(CALENDARS, calendar=self.calendar)
        check_choice(GAPS, gaps=self.gaps)
        check_at_least(1, horizon=self.horizon, context=self.context, season=self.season, rows=self.rows)
        check_at_least(0, valid=self.valid, test=self.test)
        for name, part in (("valid", self.valid), ("test", self.test)):
            if part >= 1 and part != int(part):
                raise ConfigError(f"'{name}' is a fraction below 1 or a number of rows, not {part}")


@dataclass(frozen=True)
class Series:
    """Numbers over time.

    Args:
        name: what it is called.
        times: (N,) datetime64 or float, evenly spaced.
        values: (N, D) float64, finite.
        covariates: (N + F, K) float64, known for F steps more than the values.
    Raises: DataError if their lengths do not fit.
    """

    name: str
    times: NDArray[Any]
    values: NDArray[np.float64]
    covariates: NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.times) != len(self.values) or len(self.covariates) < len(self.values):
            raise DataError(
                f"series '{self.name}' has {len(self.times)} times, {len(self.values)} values and"
                f" {len(self.covariates)} covariates; give one of each for every step"
            )

    def __len__(self) -> int:
        return len(self.values)

    def until(self, steps: int) -> Series:
        """Return the first steps; covariates of later ones stay known."""
        return Series(self.name, self.times[:steps], self.values[:steps], self.covariates)

    def last(self, steps: int) -> Series:
        """Return the last steps, with what is known of later ones; all, if there are fewer."""
        first = max(0, len(self) - steps)
        return Series(self.name, self.times[first:], self.values[first:], self.covariates[first:])


@dataclass(frozen=True)
class SeriesFormat:
    """What all series that a model reads have in common.

    Args:
        targets, covariates: names of the columns.
        cycles: of the calendar, which the model sees too.
        unit, step: of the clock, see `Clock`.
        season, horizon, context: in steps.
        transform: none or log.
    """

    targets: tuple[str, ...] = ("value",)
    covariates: tuple[str, ...] = ()
    cycles: tuple[str, ...] = ()
    unit: str = "number"
    step: float = 1.0
    season: int = 1
    horizon: int = 1
    context: int = 64
    transform: str = "none"

    def __post_init__(self) -> None:
        check_choice(TRANSFORMS, transform=self.transform)
        check_at_least(1, season=self.season, horizon=self.horizon, context=self.context)

    @property
    def clock(self) -> Clock:
        """How the times run."""
        return Clock(self.unit, self.step)

    @property
    def num_features(self) -> int:
        """Numbers K known of every step beside the values."""
        return len(self.covariates) + 2 * len(self.cycles)

    def features(self, series: Series, ahead: int = 0) -> NDArray[np.float64]:
        """Return what is known of every step and of some to come: (N + ahead, K), covariates and calendar.

        Raises: DataError if the covariates do not reach that far.
        """
        steps = len(series) + ahead
        if self.covariates and len(series.covariates) < steps:
            raise DataError(
                f"series '{series.name}': forecasting {ahead} steps needs {', '.join(self.covariates)} of those steps,"
                f" known are {len(series.covariates) - len(series)}; add rows with the target left empty"
            )
        times = self.clock.continued(series.times, ahead) if self.cycles else np.zeros(steps)
        known = series.covariates[:steps] if self.covariates else np.zeros((steps, 0))
        return np.concatenate([known, calendar(times, self.cycles)], 1)

    def as_mapping(self) -> dict[str, Any]:
        """Return the settings as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SeriesFormat:
        """Undo `as_mapping`."""
        settings: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in mapping.items()}
        return cls(**settings)
