"""Reading examples: which reader a source needs, what its cells are, and which rows cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recurra.data.examples.config import DatasetConfig
from recurra.data.examples.conll import ENDINGS, looks_like_conll, read_conll
from recurra.data.examples.examples import Examples
from recurra.data.examples.faults import Faults
from recurra.data.examples.files import STDIN, ending, lines_of, read_text
from recurra.data.examples.folders import read_folder, table_in
from recurra.data.examples.inputs import Input, TextInput
from recurra.data.examples.media import is_media, media_input, names_media, read_media
from recurra.data.examples.tables import Columns, Row, read_json_lines, read_table
from recurra.errors import DataError

__all__ = ["JSON", "Source", "name_of", "read_examples", "read_source"]

MISSING = {"classify": "no label", "tag": "no labels", "translate": "no text to be written", "caption": "no caption"}
JSON = frozenset({".jsonl", ".ndjson", ".json"})
Progress = Callable[[int, int], None]


class Source(NamedTuple):
    """Examples, and the input that sounds or pictures were read for; None for texts and numbers."""

    examples: Examples
    input: Input | None


def read_examples(
    config: DatasetConfig,
    *,
    source: str | None = None,
    labelled: bool = True,
    input: Input | None = None,
    progress: Progress | None = None,
) -> Examples:
    """Read the examples of a task.

    Args:
        config: the task, the columns, and whether rows that cannot be used are left out.
        source: what to read instead of the config's.
        labelled: every example must have a target; otherwise they are None where one is missing.
        input: of the model that reads them, for the rate of sounds and the size of pictures.
        progress: called with how many sounds or pictures were read, and of how many.
    Raises: DataError if there is nothing to read, or a row cannot be used.
    """
    return read_source(config, source=source, labelled=labelled, input=input, progress=progress).examples


def read_source(
    config: DatasetConfig,
    *,
    source: str | None = None,
    labelled: bool = True,
    input: Input | None = None,
    progress: Progress | None = None,
) -> Source:
    """Read as `read_examples` does, and also return the input that fits sounds and pictures."""
    place = config.source if source is None else source
    rows, notes = _rows(config, place, labelled, input)
    if not rows:
        raise DataError(f"{place} has no examples in it; give some")
    faults, kept = Faults(config.skip_bad), list[Row]()
    for row in rows:
        checked = _check(config.task, row, labelled)
        if checked.fault:
            faults.add(checked.place, checked.fault)
        else:
            kept.append(checked)
    notes = notes + faults.settle()
    _check_kinds(config, kept)
    known = bool(kept) and all(row.target is not None for row in kept)
    examples = Examples(
        [row.input for row in kept],
        [row.target for row in kept] if known or labelled else None,
        [row.place for row in kept],
        notes,
    )
    if not kept or not is_media(kept[0].input):
        return Source(examples, None)
    input = input or media_input(config, examples)
    faults = Faults(config.skip_bad)
    examples = read_media(examples, input, faults, progress)
    return Source(replace(examples, notes=[*examples.notes, *faults.settle()]), input)


def name_of(source: str) -> str:
    """Return what runs on a source are named after."""
    if source == "-":
        return "stdin"
    name = Path(source).resolve().name
    return name if Path(source).is_dir() else name.removesuffix(".gz").partition(".")[0] or name


def _rows(config: DatasetConfig, source: str, labelled: bool, input: Input | None) -> tuple[list[Row], list[str]]:
    """Choose the reader by what the source is, its ending, and for standard input its first character."""
    columns, path = Columns(config.input, config.target, labelled), Path(source)
    if source != "-" and path.is_dir():
        table = table_in(path)
        if table is None and config.task == "tag":
            raise DataError(f"{source} is a folder; to tag, give a file with a word and its label in each line")
        if table is None:
            rows, notes = read_folder(path, labelled)
            return rows, notes
        path = table
    if source != "-" and is_media(path) and not labelled:
        return [Row(path, None, path.name)], []
    text = read_text(source if source == "-" else path)
    name, kind = STDIN if source == "-" else path.name, ending(path)
    if kind in JSON or (source == "-" and _is_json(text)):
        rows = read_json_lines(text, name, columns)
    elif kind in ENDINGS or (config.task == "tag" and kind != ".csv" and (labelled or looks_like_conll(text))):
        rows = read_conll(text, name, columns, universal=kind == ".conllu")
    elif config.task == "tag" and not labelled:
        rows = _sentences(text, name, isinstance(input, TextInput) and input.tokenizer.kind == "char")
    else:
        rows = read_table(text, name, "," if kind == ".csv" else "\t", columns)
    return [_with_path(row, path.parent) for row in rows] if config.task != "tag" else rows, []


def _sentences(text: str, name: str, by_character: bool) -> list[Row]:
    """Read a sentence in each line, to be tagged."""
    rows = [(number, line) for number, line in enumerate(lines_of(text), 1) if line.strip()]
    return [Row(line if by_character else line.split(), None, f"{name}, line {number}") for number, line in rows]


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{")


def _with_path(row: Row, folder: Path) -> Row:
    """Turn the name of a sound or a picture into its path, from the folder of its table."""
    return row._replace(input=folder / row.input) if names_media(row.input) else row


def _check(task: str, row: Row, labelled: bool) -> Row:
    """Return a row whose cells are of the kinds that the task has, or one with a fault."""
    if row.fault:
        return row
    value, fault = _check_input(row.input)
    if fault:
        return row._replace(fault=fault)
    if task == "tag":
        labels, fault = _check_labels(value, row.target)
        missing = labels is None and fault is None
        return row._replace(input=value, target=labels, fault=MISSING[task] if missing and labelled else fault)
    target = row.target
    if isinstance(target, int | float):  # also what JSON calls true and false
        target = str(target).lower() if isinstance(target, bool) else str(target)
    if target is not None and not isinstance(target, str):
        return row._replace(fault=f"{MISSING[task]}: it is no text")
    target = target.strip() if task == "classify" and target else target
    if not (target or "").strip():
        return row._replace(input=value, target=None, fault=MISSING[task] if labelled else None)
    return row._replace(input=value, target=target)


def _check_input(value: Any) -> tuple[Any, str | None]:
    """Return an input and None, or what is wrong with it."""
    if isinstance(value, Path):
        return value, None
    if value is None or len(value if isinstance(value, str | list) else "x") == 0:
        return value, "no input"
    if isinstance(value, str):
        return value, None if value.strip() else "no input"
    if not isinstance(value, list):
        return value, "the input is neither a text nor a list"
    if all(isinstance(each, str) for each in value):
        single = all(len(each) == 1 for each in value)
        torn = not single and any(each.split() != [each] for each in value)
        return value, "a word that is empty or holds white space" if torn else None
    try:
        numbers = np.array(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        return value, "the input is a list of neither words nor numbers"
    if numbers.ndim > 2 or not numbers.size or not np.isfinite(numbers).all():
        return value, "the input is no sequence of finite numbers"
    return numbers, None


def _check_labels(tokens: Sequence[Any], labels: Any) -> tuple[list[str] | None, str | None]:
    """Return the labels of steps, None if there are none; and what is wrong with them."""
    if labels is None or len(labels if isinstance(labels, str | list) else "x") == 0:
        return None, None
    if isinstance(labels, str) and not isinstance(tokens, str):
        return None, "labels are a list, one for each word"
    if not isinstance(labels, str | list) or not all(isinstance(each, str | int) for each in labels):
        return None, "labels are neither a list nor a string of characters"
    names = [str(each) for each in labels]
    if len(names) != len(tokens):
        return None, "the numbers of labels and of words differ"
    return names, "an empty label" if not all(each.strip() for each in names) else None


def _check_kinds(config: DatasetConfig, rows: Sequence[Row]) -> None:
    """Raise DataError if inputs are of several kinds, or of one that the task does not read."""
    kinds = [_kind(row.input) for row in rows]
    for row, kind in zip(rows, kinds, strict=True):
        if kind != kinds[0]:
            raise DataError(f"{row.place}: a {kind} among inputs that begin with a {kinds[0]}; give one kind")
    if rows and config.task == "caption" and kinds[0] != "picture":
        raise DataError(f"{rows[0].place}: captions are written for pictures, and this is a {kinds[0]}")


def _kind(value: Any) -> str:
    if isinstance(value, Path):
        return "picture" if is_media(value) == "picture" else "sound"
    if isinstance(value, np.ndarray):
        return "sequence of numbers"
    return "text" if isinstance(value, str) else "list of words"
