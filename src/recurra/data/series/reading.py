"""Series from tables, checked: one clear line for what cannot be used."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.data.series.config import Series, SeriesConfig
from recurra.data.series.times import Clock, time_text
from recurra.errors import DataError, nearest
from recurra.libraries import need

__all__ = ["Table", "read_series"]

TIMES = ("date", "time", "datetime", "timestamp", "ds", "month", "day", "week", "year", "hour", "t")
REMEDY = "fill in what is missing, or --gaps fill draws straight lines"
ENDINGS = {".tsv": "\t", ".tab": "\t"}


class Table(NamedTuple):
    """What a file holds.

    Args:
        series: in the order of their names' first appearance.
        targets, covariates: names of the columns.
        clock: how the times run, the same in all.
        notes: what was changed on the way.
    """

    series: list[Series]
    targets: tuple[str, ...]
    covariates: tuple[str, ...]
    clock: Clock
    notes: list[str]


def read_series(config: SeriesConfig, source: str | None = None) -> Table:
    """Read the series of a table.

    Args:
        source: another file with the same columns, which need not be learned from; default the one of the settings.
    Raises: DataError if the file, a column, a cell or the times cannot be used.
    """
    learned, source = source is None, config.source if source is None else source
    frame = _read_frame(source)
    time = _time_column(frame, config, source)
    targets, covariates = _columns(frame, config, time, source)
    if config.series is not None:
        _check_column(frame, config.series, source)
        groups = list(frame.groupby(config.series, sort=False))
    else:
        groups = [(Path(source).stem, frame)]
    if not groups:
        raise DataError(f"{source} holds no rows")
    found, notes, clocks = [], [], set()
    for name, part in groups:
        where = f"{source}, series '{name}'" if config.series is not None else source
        if config.rows is not None:
            part = part.iloc[: config.rows]
        series, clock, filled = _one(str(name), part, time, targets, covariates, config, where)
        found.append(series)
        clocks.add(Clock(clock.unit, float(f"{clock.step:.6g}")))
        notes += [f"{where}: filled {filled} missing values by straight lines"] if filled else []
    if len(clocks) > 1:
        raise DataError(f"{source}: series have times {' and '.join(sorted(c.text for c in clocks))} apart; use one")
    if learned:
        _check_changes(found, targets, source)
    return Table(found, targets, covariates, clocks.pop(), notes)


def _check_changes(series: list[Series], targets: tuple[str, ...], source: str) -> None:
    """Raise DataError for a target that stands still in every series."""
    for column, target in enumerate(targets):
        if all((one.values[:, column] == one.values[0, column]).all() for one in series):
            still = f"{series[0].values[0, column]:g} in every row"
            raise DataError(f"{source}: '{target}' is {still}; there is nothing to learn")


def _read_frame(source: str) -> Any:
    pandas = need("pandas")
    path = Path(source)
    if not path.is_file():
        raise DataError(f"there is no file {source}; give a CSV file with one row for each time")
    try:
        frame = pandas.read_csv(path, sep=ENDINGS.get(path.suffix, ","), skipinitialspace=True)
    except (ValueError, OSError) as error:  # pandas' own errors of parsing are ValueErrors
        raise DataError(f"cannot read {source} as a table: {str(error).splitlines()[0]}") from None
    if frame.empty:
        raise DataError(f"{source} holds no rows; give a CSV file with one row for each time")
    return frame.rename(columns=str)


def _check_column(frame: Any, name: str, source: str) -> None:
    if name not in frame.columns:
        raise DataError(f"{source} has no column '{name}'{nearest(name, frame.columns)}")


def _time_column(frame: Any, config: SeriesConfig, source: str) -> str:
    if config.time is not None:
        _check_column(frame, config.time, source)
        return config.time
    for column in frame.columns:
        if column.lower() in TIMES and column != config.target:
            return str(column)
    columns = ", ".join(frame)
    raise DataError(f"{source} has no time column that can be told by its name; name one with --time: {columns}")


def _columns(frame: Any, config: SeriesConfig, time: str, source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = {"target": config.target, "covariates": config.covariates}
    target, covariates = (
        tuple(part.strip() for part in (text or "").split(",") if part.strip()) for text in names.values()
    )
    if not target:
        left = [name for name in frame.columns if name not in (time, config.series, *covariates)]
        if not left:
            raise DataError(f"{source} has no column beside the times; add one to be forecast")
        target = (left[-1],)
    for name in (*target, *covariates):
        _check_column(frame, name, source)
        if name in (time, config.series) or (name in target and name in covariates):
            raise DataError(f"{source}: column '{name}' is asked for in two roles; name each column once")
    return target, covariates


def _one(
    name: str,
    part: Any,
    time: str,
    targets: tuple[str, ...],
    covariates: tuple[str, ...],
    config: SeriesConfig,
    where: str,
) -> tuple[Series, Clock, int]:
    times = _times(part[time], where)
    if len(times) < 2:
        raise DataError(f"{where} has {len(times)} rows; a series needs at least two")
    clock = Clock.of(times, where)
    numbers = np.stack([_numbers(part[column], where) for column in (*targets, *covariates)], 1)
    numbers, times = _even(numbers, times, clock, config.gaps, where)
    future = _empty_at_the_end(numbers[:, : len(targets)]) if covariates else 0
    to_come = np.zeros(numbers.shape, bool)
    to_come[len(numbers) - future :, : len(targets)] = True
    filled = _fill(numbers, np.isnan(numbers) & ~to_come, config.gaps, where, (*targets, *covariates))
    values = numbers[: len(numbers) - future, : len(targets)]
    for column, target in enumerate(targets):
        if config.transform == "log" and (values[:, column] <= 0).any():
            row = int(np.argmax(values[:, column] <= 0))
            raise DataError(
                f"{where}: '{target}' is {values[row, column]:g} in row {row + 1}, and logarithms need numbers above 0;"
                " leave out --transform log"
            )
    return Series(name, times[: len(values)], values, numbers[:, len(targets) :]), clock, filled


def _times(column: Any, where: str) -> NDArray[Any]:
    pandas = need("pandas")
    if column.isna().any():
        raise DataError(
            f"{where}: row {int(column.isna().to_numpy().argmax()) + 1} has no time; fill it in or remove it"
        )
    if pandas.api.types.is_numeric_dtype(column):
        return np.asarray(column, np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that dates of no known form are slow to read
        parsed = pandas.to_datetime(column, errors="coerce", utc=True)
    numbers = pandas.to_numeric(column, errors="coerce")
    wrong = numbers.isna() if numbers.notna().sum() > len(column) / 2 else parsed.isna()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DataError(
            f"{where}: row {row + 1} of '{column.name}' is {column.iloc[row]!r}, which is no date or number"
        )
    return np.asarray(parsed.dt.tz_localize(None), "datetime64[us]")


def _numbers(column: Any, where: str) -> NDArray[np.float64]:
    pandas = need("pandas")
    numbers = pandas.to_numeric(column, errors="coerce")
    wrong = (numbers.isna() & ~column.isna()).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{where}: row {row + 1} of '{column.name}' is {column.iloc[row]!r}, which is no number")
    return np.where(np.isfinite(numbers), np.asarray(numbers, np.float64), np.nan)


def _empty_at_the_end(values: NDArray[np.float64]) -> int:
    known = ~np.isnan(values).all(1)
    return len(values) - int(np.flatnonzero(known)[-1]) - 1 if known.any() else 0


def _even(
    numbers: NDArray[np.float64], times: NDArray[Any], clock: Clock, gaps: str, where: str
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return numbers of every step, those of times left out not a number, and the times of the steps."""
    places = clock.places(times, where)
    left_out = int(places[-1]) + 1 - len(places)
    if not left_out:
        return numbers, times
    if gaps == "error":
        row = int(np.argmax(np.diff(places) > 1))
        missing = "1 time is missing," if left_out == 1 else f"{left_out:,} times are missing, the first"
        raise DataError(f"{where}: {missing} after {time_text(times[row])}; {REMEDY}")
    even = np.full((int(places[-1]) + 1, numbers.shape[1]), np.nan)
    even[places] = numbers
    return even, clock.continued(times[:1], len(even) - 1)


def _fill(numbers: NDArray[np.float64], missing: Any, gaps: str, where: str, names: tuple[str, ...]) -> int:
    """Fill in what is missing, by straight lines in each column, and return how many numbers that were."""
    count = int(missing.sum())
    if count and gaps == "error":
        row, column = map(int, np.argwhere(missing)[0])
        cells = "1 cell is" if count == 1 else f"{count} cells are"
        raise DataError(f"{where}: {cells} empty, the first in row {row + 1} of '{names[column]}'; {REMEDY}")
    for column, name in enumerate(names):
        here, known = missing[:, column], np.flatnonzero(~np.isnan(numbers[:, column]))
        if not len(known):
            raise DataError(f"{where}: '{name}' has no numbers")
        numbers[here, column] = np.interp(np.flatnonzero(here), known, numbers[known, column])
    return count
