"""Series made ready for training: what is read, what is forecast, and which steps are kept for validation and test."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from recurra.config import as_mapping, from_mapping
from recurra.data.series.config import Series, SeriesConfig, SeriesFormat
from recurra.data.series.reading import Table, read_series
from recurra.data.series.windows import Windows, WindowStream
from recurra.errors import ConfigError, CorpusError, DataError
from recurra.files import new_folder

__all__ = ["SeriesData"]

SEASONS_READ, STEPS_READ = 9, 64
"""What is read by default: nine seasons, for a week of days and two days beside it, or that many steps."""

FORMAT = 1
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, MemoryError, OverflowError,
           RuntimeError, BadZipFile, zlib.error, ConfigError)  # fmt: skip
"""What reading a damaged archive, or settings that are none, leads to."""


class SeriesData:
    """Windows to train on, to validate with and to test on.

    Args:
        name: what runs are named after.
        config: what it was made from, resolved.
        format: what a model must know.
        series: whole, with what is kept for the test.
        splits: of each series the steps to train on, and the steps before the test.
        notes: lines that a user should read.
    """

    def __init__(
        self,
        name: str,
        config: SeriesConfig,
        format: SeriesFormat,
        series: Sequence[Series],
        splits: Sequence[tuple[int, int]],
        notes: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.config = config
        self.format = format
        self.series = list(series)
        self.splits = list(splits)
        self.notes = list(notes)
        ends = [len(one) for one in self.series]
        self.train = Windows(self.series, format, [(0, a) for a, _ in self.splits])
        self.valid = Windows(self.series, format, self.splits)
        self.test = Windows(self.series, format, [(b, end) for (_, b), end in zip(self.splits, ends, strict=True)])

    @classmethod
    def build(cls, config: SeriesConfig) -> SeriesData:
        """Read, check and split the series.

        Raises: DataError if they cannot be used, or are too short for what is asked.
        """
        table = read_series(config)
        splits = [_split(len(one), config, one.name) for one in table.series]
        shortest = min(train for train, _ in splits)
        season = config.season or table.clock.season
        context = config.context or _context(season, shortest, config.horizon)
        if shortest < context + config.horizon:
            raise DataError(
                f"{config.source}: {shortest} rows to train on are fewer than context {context} + horizon"
                f" {config.horizon}; forecast fewer steps from fewer, or give more rows"
            )
        cycles = table.clock.cycles(shortest) if config.calendar == "auto" else ()
        format = SeriesFormat(
            table.targets,
            table.covariates,
            cycles,
            table.clock.unit,
            table.clock.step,
            season,
            config.horizon,
            context,
            config.transform,
        )
        resolved = replace(config, target=",".join(table.targets), season=season, context=context)
        notes = [*table.notes, _summary(table, format)]
        return cls(Path(config.source).stem, resolved, format, table.series, splits, notes)

    def stream(self, *, batch: int, seed: int = 0, epoch: int = 0) -> WindowStream:
        """Return the training batches of an epoch."""
        return self.train.stream(batch=batch, seed=seed, epoch=epoch)

    def save(self, folder: str | Path) -> None:
        """Write everything into a new folder."""
        with new_folder(folder, CorpusError) as path:
            names = ("times", "values", "covariates")
            arrays = {f"{name}_{n}": getattr(one, name) for n, one in enumerate(self.series) for name in names}
            np.savez(path / "series.npz", **arrays)
            said = {
                "version": FORMAT,
                "name": self.name,
                "config": as_mapping(self.config),
                "format": self.format.as_mapping(),
                "series": [one.name for one in self.series],
                "splits": self.splits,
                "notes": self.notes,
            }
            (path / "series.json").write_text(json.dumps(said, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> SeriesData:
        """Read what `save` wrote. Raises: DataError if it is damaged or of another version."""
        path = Path(folder)
        try:
            said = json.loads((path / "series.json").read_text(encoding="utf-8"))
            if said["version"] != FORMAT:
                raise DataError(f"{path} is of version {said['version']}; this recurra reads version {FORMAT}")
            with (path / "series.npz").open("rb") as file, np.load(file) as arrays:
                series = [
                    Series(name, *(arrays[f"{part}_{n}"] for part in ("times", "values", "covariates")))
                    for n, name in enumerate(said["series"])
                ]
            config = from_mapping(SeriesConfig, said["config"])
            format, splits = SeriesFormat.from_mapping(said["format"]), [tuple(split) for split in said["splits"]]
            return cls(said["name"], config, format, series, splits, said["notes"])
        except DataError:
            raise
        except DAMAGED as error:
            raise DataError(f"cannot read the series in {path}: {error}; build them again") from None


def _split(rows: int, config: SeriesConfig, name: str) -> tuple[int, int]:
    """Return the rows to train on, and the rows before the test."""
    test, valid = (int(part) if part >= 1 else round(rows * part) for part in (config.test, config.valid))
    for part, size in (("valid", valid), ("test", test)):
        if 0 < size < config.horizon:
            raise DataError(
                f"series '{name}': {part} has {size} rows of {rows}, fewer than the horizon {config.horizon}"
            )
    if test + valid >= rows:
        raise DataError(f"series '{name}' has {rows} rows, and none is left to train on; lower valid or test")
    return rows - test - valid, rows - test


def _context(season: int, rows: int, horizon: int) -> int:
    wanted = SEASONS_READ * season if season > 1 else STEPS_READ
    return max(1, min(wanted, rows // 3, rows - horizon))


def _summary(table: Table, format: SeriesFormat) -> str:
    steps = sum(map(len, table.series))
    number = f"{len(table.series)} series of " if len(table.series) > 1 else ""
    season = f", season {format.season}" if format.season > 1 else ""
    return (
        f"{number}{steps:,} steps in all, {table.clock.text} apart{season}: {format.horizon} to be forecast from"
        f" {format.context}"
    )
