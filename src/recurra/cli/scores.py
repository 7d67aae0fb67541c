"""Scores as they are printed: lines of text, a table, or JSON lines; all as they come, or the highest of them."""

from __future__ import annotations

import csv
import heapq
import io
import json
from collections.abc import Callable, Iterable
from typing import Any

import click

__all__ = ["FORMATS", "Printer"]

FORMATS = ("text", "csv", "jsonl")

Row = dict[str, Any]


class Printer:
    """Prints rows, or keeps the N with the most bits until the end.

    Args:
        form: text, csv or jsonl.
        names: of the columns.
        top: N.
        above: bits that a row must have to be printed.
    """

    def __init__(self, form: str, names: list[str], *, top: int | None = None, above: float | None = None) -> None:
        self._form, self._names, self._top, self._above = form, names, top, above
        self._write: Callable[[Iterable[Row]], str] = {"text": _text, "csv": self._csv, "jsonl": _json}[form]
        self._highest: list[tuple[float, int, Row]] = []
        self._count = 0
        if form == "csv":
            click.echo(",".join(names))

    def add(self, rows: list[Row]) -> None:
        """Take the next rows."""
        if self._above is not None:
            rows = [row for row in rows if row["bits"] is not None and row["bits"] >= self._above]
        if self._top is None:
            self._print(rows)
            return
        for row in rows:
            self._count += 1  # of equals, the first
            entry = (float("-inf") if row["bits"] is None else row["bits"], -self._count, row)
            if len(self._highest) < self._top:
                heapq.heappush(self._highest, entry)
            else:
                heapq.heappushpop(self._highest, entry)

    def finish(self) -> None:
        """Print what was kept, the most surprising first."""
        self._print([row for *_, row in sorted(self._highest, key=lambda entry: entry[:2], reverse=True)])
        self._highest = []

    def _print(self, rows: list[Row]) -> None:
        if rows:
            click.echo(self._write(rows), nl=False)

    def _csv(self, rows: Iterable[Row]) -> str:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self._names, lineterminator="\n", extrasaction="ignore")
        for row in rows:
            others = row.get("alternatives", [])
            writer.writerow(row | {f"{k}_{n}": other[k] for n, other in enumerate(others, 1) for k in other})
        return buffer.getvalue()


def _json(rows: Iterable[Row]) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _text(rows: Iterable[Row]) -> str:
    return "".join(f"{_line(row)}\n" for row in rows)


def _line(row: Row) -> str:
    bits = "      -" if row["bits"] is None else f"{row['bits']:7.3f}"
    if "position" in row:
        others = "  ".join(f"{other['token']} {other['probability']:.3f}" for other in row.get("alternatives", []))
        return f"{bits}  {row['position']:>6}  {row['token']:<12}  {others}".rstrip()
    if "line" not in row:
        return f"{bits}  {row['document']}"
    where = f"{row['document']}:{row['line']}" if "document" in row else row["line"]
    return f"{bits}  {where:>6}  {row['text']}"
