"""Times of a series: how far apart they are, what comes next, and where in the day, the week and the year they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.errors import DataError

__all__ = ["CYCLES", "Clock", "calendar", "time_text"]

DAY = 86_400.0
CYCLES: dict[str, float] = {"day": DAY, "week": 7 * DAY, "year": 365.2425 * DAY}
"""Seconds that the calendar's cycles take."""

MONTHS = ("month", "month end")
ONE_DAY = np.timedelta64(1, "D")
OFF_BEAT = 0.05
"""Part of a step by which a time may miss its place: clocks drift, and decimal fractions are rounded."""


@dataclass(frozen=True)
class Clock:
    """Evenly spaced times.

    Args:
        unit: "time" counts seconds, "month" counts months, "month end" does so by their last days, "number" has no
            calendar.
        step: from one time to the next, in that unit.
    """

    unit: str
    step: float

    @classmethod
    def of(cls, times: NDArray[Any], where: str) -> Clock:
        """Find out how far apart times are. They are datetime64 or float, at least two.

        Raises: DataError if they do not rise, naming the first that does not.
        """
        rises = np.diff(times).astype(np.float64)
        if (rises <= 0).any():
            row = int(np.argmax(rises <= 0)) + 1
            wrong = "comes twice" if rises[row - 1] == 0 else "comes after a later one"
            remedy = "keep one row of each time, or name the column that tells series apart with --series"
            raise DataError(
                f"{where}: the time {time_text(times[row])} in row {row + 1} {wrong}; sort the rows and {remedy}"
            )
        if times.dtype.kind != "M":
            return cls("number", _usual(rises))
        months = times.astype("datetime64[M]")
        within = times - months.astype(times.dtype)
        if (np.diff(months).astype(int) > 0).all():
            rises = np.diff(months).astype(np.float64)
            if (within == within[0]).all():
                return cls("month", _usual(rises))
            if ((times + ONE_DAY).astype("datetime64[M]") > months).all():
                return cls("month end", _usual(rises))
        return cls("time", _usual(np.diff(times) / np.timedelta64(1, "us")) / 1e6)

    def places(self, times: NDArray[Any], where: str) -> NDArray[np.int64]:
        """Return how many steps each time comes after the first: 0, 1, 2 … unless some are missing.

        Raises: DataError for a time between the steps.
        """
        if self.unit in MONTHS:
            exact = np.diff(times.astype("datetime64[M]"), prepend=times[:1].astype("datetime64[M]")).astype(np.float64)
        elif self.unit == "time":
            exact = np.diff(times, prepend=times[:1]) / np.timedelta64(1, "us") / 1e6
        else:
            exact = np.diff(times, prepend=times[:1])
        exact = exact / self.step
        steps = np.round(exact)
        off = np.abs(exact - steps) > OFF_BEAT
        if off.any():
            row = int(np.argmax(off))
            raise DataError(
                f"{where}: times are {self.text} apart, but row {row + 1} ({time_text(times[row])}) lies between two"
                " steps; bring the rows to even steps first"
            )
        return np.cumsum(steps).astype(np.int64)

    def continued(self, times: NDArray[Any], steps: int) -> NDArray[Any]:
        """Return the times and as many more as asked."""
        ahead = np.arange(1, steps + 1)
        last = times[-1]
        if self.unit == "month":
            month = last.astype("datetime64[M]")
            more = (month + (ahead * int(self.step)).astype("timedelta64[M]")).astype(times.dtype)
            more = more + (last - month.astype(times.dtype))
        elif self.unit == "month end":
            month = last.astype("datetime64[M]")
            after = (month + (ahead * int(self.step) + 1).astype("timedelta64[M]")).astype(times.dtype)
            more = after - ONE_DAY + (last - last.astype("datetime64[D]"))
        elif self.unit == "time":
            more = last + np.round(ahead * self.step * 1e6).astype("timedelta64[us]")
        else:
            more = last + ahead * self.step
        return np.concatenate([times, more.astype(times.dtype)])

    @property
    def seconds(self) -> float | None:
        """Seconds from one time to the next, about; None for numbers."""
        month = self.step * CYCLES["year"] / 12
        return {"time": self.step, "month": month, "month end": month}.get(self.unit)

    @property
    def season(self) -> int:
        """Steps after which a pattern is likely to come again; 1 if there is no telling.

        A day of hours or half hours, a week of days, a year of months or quarters.
        """
        if self.unit in MONTHS:
            return int(12 // self.step) if 12 % self.step == 0 and self.step < 12 else 1
        if self.unit == "number":
            return 1
        if self.step >= DAY:
            return 7 if self.step == DAY else 1
        return round(DAY / self.step) if 2 <= DAY / self.step <= 48 else 1

    @property
    def text(self) -> str:
        """In words: ``1 h``."""
        if self.unit == "number":
            return f"{self.step:.6g}"
        if self.unit in MONTHS:
            return f"{self.step:g} month{'s' if self.step > 1 else ''}"
        for name, size in (("d", DAY), ("h", 3600.0), ("min", 60.0)):
            if self.step >= size:
                return f"{self.step / size:g} {name}"
        return f"{self.step:g} s"

    def cycles(self, steps: int) -> tuple[str, ...]:
        """Return the cycles that can be seen: longer than two steps, and twice or more within that many steps."""
        if self.seconds is None:
            return ()
        return tuple(name for name, size in CYCLES.items() if 2 < size / self.seconds <= steps / 2)


def time_text(time: Any) -> str:
    """Write a time: a date no longer than it must be, or a number."""
    return str(np.datetime_as_string(time, unit="auto")) if isinstance(time, np.datetime64) else f"{time:g}"


def calendar(times: NDArray[Any], cycles: tuple[str, ...]) -> NDArray[np.float64]:
    """Return sine and cosine of where in each cycle the times lie, (N, 2 · cycles)."""
    columns: list[NDArray[np.float64]] = []
    for name in cycles:
        start = times.astype("datetime64[Y]") if name == "year" else np.datetime64("1970-01-05", "us")  # a Monday
        seconds = (times - start) / np.timedelta64(1, "us") / 1e6
        angle = 2 * np.pi * np.asarray(seconds, np.float64) / CYCLES[name]
        columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, 1) if columns else np.zeros((len(times), 0))


def _usual(rises: NDArray[np.float64]) -> float:
    """Return the most frequent of positive numbers that are alike but for rounding; of several, the smallest."""
    _, which, counts = np.unique(np.round(rises / rises.min(), 3), return_inverse=True, return_counts=True)
    return float(np.median(rises[which == int(np.argmax(counts))]))
