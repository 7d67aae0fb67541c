"""Tables: rows with an input and a target, separated by tabs or commas, or as lines of JSON."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from recurra.data.examples.files import lines_of
from recurra.errors import DataError, nearest

__all__ = ["Columns", "Row", "read_json_lines", "read_table"]

INPUTS = (
    *("text", "sentence", "input", "inputs", "source", "src", "question", "review", "document", "tokens", "words"),
    *(
        "characters",
        "sequence",
        "values",
        "file",
        "filename",
        "file_name",
        "path",
        "image",
        "picture",
        "audio",
        "sound",
    ),
    *("wav", "english"),
)
TARGETS = (
    *("label", "labels", "class", "category", "target", "targets", "caption", "answer", "translation", "output"),
    *("tag", "tags", "sentiment", "tgt"),
)
OTHERS = ("id", "index", "split", "score", "title", "name")


class Row(NamedTuple):
    """An input and what is to be said about it, None for what a table has not; where it is, and what is wrong."""

    input: Any
    target: Any
    place: str
    fault: str | None = None


class Columns(NamedTuple):
    """The columns to read, by name or number from 1, None to find them by names; whether there must be a target."""

    input: str | None = None
    target: str | None = None
    labelled: bool = True


def read_table(text: str, name: str, separator: str, columns: Columns) -> list[Row]:
    """Read lines of cells.

    A first line of names, known or asked for, tells which columns to read; without it they are the first and second, or
    those whose numbers are asked for.

    Args:
        name: of the table, for messages.
        separator: a tab, where a quote is a character like any other; or a comma, where cells may be quoted.
    Raises: DataError if it is no table, or has no such columns.
    """
    table, lines = _cells(text, name, separator)
    filled = [(cells, f"{name}, line {line}") for cells, line in zip(table, lines, strict=True) if any(cells)]
    if not filled:
        raise DataError(f"{name} has no examples in it; give some")
    names = [cell.strip() for cell in filled[0][0]]
    while len(names) > 1 and not names[-1]:
        names.pop()
    if _are_names(names, columns):
        first, second = _choose(names, name, columns)
        filled = filled[1:]
    else:
        first, second = _numbered(names, name, columns)
        if columns.labelled and second is None:
            kind = "tab" if separator == "\t" else "comma"
            raise DataError(f"{filled[0][1]}: no {kind} in it; write input, {kind} and target in each line")
    rows = []
    for cells, place in filled:
        fault = f"more than {len(names)} columns" if columns.labelled and any(cells[len(names) :]) else None
        rows.append(Row(_cell(cells, first), _cell(cells, second), place, fault))
    return rows


def read_json_lines(text: str, name: str, columns: Columns) -> list[Row]:
    """Read a JSON object in each line; its keys are the columns.

    Raises: DataError if no line is an object, one has a key twice, or there are no such keys.
    """
    records: list[tuple[str, Any]] = []
    for number, line in enumerate(lines_of(text), 1):
        place = f"{name}, line {number}"
        if not line.strip():
            continue
        try:
            records.append((place, json.loads(line, object_pairs_hook=_record)))
        except DataError as error:
            raise DataError(f"{place}: {error}") from None
        except (ValueError, RecursionError):
            records.append((place, None))
    names = list(dict.fromkeys(key for _, record in records if isinstance(record, dict) for key in record))
    if not records:
        raise DataError(f"{name} has no examples in it; give some")
    if not names:
        raise DataError(f"{records[0][0]}: no JSON object; write one in each line, with a key for input and target")
    first, second = _choose(names, name, columns)
    rows = []
    for place, record in records:
        if isinstance(record, dict):
            target = None if second is None else record.get(names[second])
            rows.append(Row(record.get(names[first]), target, place))
        else:
            rows.append(Row(None, None, place, "no JSON object"))
    return rows


def _cells(text: str, name: str, separator: str) -> tuple[list[list[str]], list[int]]:
    """Return the cells of each row, and the line that each begins at. Raises: DataError for a quote without its end."""
    if separator == "\t":
        table = [line.split("\t") for line in lines_of(text)]
        return table, list(range(1, len(table) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    table, lines = [], [1]
    before = csv.field_size_limit(sys.maxsize >> 32)
    try:
        for cells in reader:
            table.append(cells)
            lines.append(reader.line_num + 1)
    except csv.Error as error:
        raise DataError(
            f"{name}, line {lines[-1]}: a quoted cell is not closed, or goes on after it ({error})"
        ) from None
    finally:
        csv.field_size_limit(before)
    return table, lines[:-1]


def _cell(cells: Sequence[str], column: int | None) -> str | None:
    return cells[column] if column is not None and column < len(cells) else None


def _are_names(names: Sequence[str], columns: Columns) -> bool:
    """Whether the first line names columns: it must if some are asked for, unless only inputs are needed."""
    known = {*INPUTS, *TARGETS, *OTHERS}
    chosen = [column for column in (columns.input, columns.target) if column is not None]
    asked = [column for column in chosen if _number(column, names) is None]
    recognised = [each for each in names if each.lower() in known or each in asked]
    if len(names) == 1:  # a single known word may well be an input
        return names[0] in asked
    return (bool(asked) and columns.labelled) or len(recognised) >= 2


def _number(asked: str | None, names: Sequence[str]) -> int | None:
    """Return which column is asked for by its number, from 0; None if it is asked for by name."""
    numbers = [str(k) for k in range(1, len(names) + 1)]
    return numbers.index(asked) if asked in numbers and asked not in names else None


def _numbered(names: Sequence[str], where: str, columns: Columns) -> tuple[int, int | None]:
    """Return which columns without names are input and target: where nothing is asked, the first that are left."""
    first, second = _number(columns.input, names), _number(columns.target, names)
    if first is not None and first == second:
        raise DataError(f"{where}: column {first + 1} cannot be both input and target; choose another")
    left = [k for k in range(len(names)) if k not in (first, second)]
    if first is None:
        if not left:
            raise DataError(f"{where} has no column beside {columns.target}; give lines of at least two")
        first = left.pop(0)
    return first, second if second is not None else left[0] if left else None


def _choose(names: Sequence[str], where: str, columns: Columns) -> tuple[int, int | None]:
    """Return which columns are input and target. Raises: DataError if that cannot be told from their names."""
    twice = [each for each, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{where} has two columns '{twice[0]}'; give each a name of its own")
    numbers = _number(columns.input, names), _number(columns.target, names)
    asked_input, asked_target = (
        asked if number is None else names[number] for asked, number in zip(columns[:2], numbers, strict=True)
    )
    target = _find(names, asked_target, TARGETS, where, columns.labelled)
    input = _find([n for k, n in enumerate(names) if k != target], asked_input, INPUTS, where)
    position = None if input is None else names.index([n for k, n in enumerate(names) if k != target][input])
    others = [k for k in range(len(names)) if k not in (target, position)]
    if position is None and (len(others) == 1 or target is None):
        position, others = others[0], others[1:]
    if target is None and columns.labelled and len(others) == 1:
        target = others[0]
    missing = "input" if position is None else "target" if target is None and columns.labelled else None
    if missing or position is None:
        raise DataError(f"{where}: which column is the {missing}? say --{missing} with one of {', '.join(names)}")
    return position, target


def _find(names: Sequence[str], asked: str | None, known: Sequence[str], where: str, needed: bool = True) -> int | None:
    if asked is not None:
        if asked in names:
            return names.index(asked)
        if not needed:
            return None
        raise DataError(
            f"{where} has no column '{asked}'{nearest(asked, names)} "
            f"(its columns: {', '.join(names)}; if these are no names, give a number from 1)"
        )
    small = [each.lower() for each in names]
    return next((small.index(each) for each in known if each in small), None)


def _record(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise DataError(f"two values of '{twice[0]}'; give each a name of its own")
    return dict(pairs)
