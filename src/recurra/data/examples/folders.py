"""Folders: a folder for each class, a file for each class, or files whose names begin with their label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from recurra.data.examples.files import ending, files_in, lines_of, read_text
from recurra.data.examples.pictures import PICTURES
from recurra.data.examples.sound import SOUNDS
from recurra.data.examples.tables import Row
from recurra.errors import DataError

__all__ = ["TABLES", "Found", "read_folder", "table_in"]

TABLES = frozenset({".tsv", ".csv", ".jsonl", ".ndjson"})
TEXTS = frozenset({".txt", ".text"})


class Found(NamedTuple):
    """Rows of a folder, and one line about each thing a user should know of them."""

    rows: list[Row]
    notes: list[str]


def table_in(folder: Path) -> Path | None:
    """Return the only table among the files of a folder; None if there is none, or several."""
    tables = [path for path in files_in(folder) if path.is_file() and ending(path) in TABLES]
    return tables[0] if len(tables) == 1 else None


def read_folder(folder: Path, labelled: bool) -> Found:
    """Read a folder of examples; sounds and pictures are given as paths.

    Args:
        labelled: there must be labels; otherwise they are read where folders or names give them.
    Raises: DataError if there is nothing in it, or its files are of several kinds.
    """
    inside = files_in(folder)
    classes = [path for path in inside if path.is_dir()]
    files = [path for path in inside if path.is_file()]
    if classes and not any(_media(path) for path in files):
        return _folder_per_class(folder, classes)
    kept, notes = _of_one_kind(folder, files)
    if not _media(kept[0]):
        if labelled:
            return Found([row for path in kept for row in _lines(path)], notes)
        return Found([_text(path, None) for path in kept], notes)
    labels = [path.name.partition("_")[0] if "_" in path.name else None for path in kept]
    if labelled and None in labels:
        raise DataError(
            f"{folder} tells no labels; put its files into a folder for each class, begin their names with a label and "
            "an underscore, or write a table of file and label"
        )
    if all(labels):
        notes.append(f"labels are what the names in {folder.name} have before the first underscore")
    return Found([Row(path, label, path.name) for path, label in zip(kept, labels, strict=True)], notes)


def _folder_per_class(folder: Path, classes: Sequence[Path]) -> Found:
    owners = {path: each.name for each in classes for path in _below(each)}
    if not owners:
        raise DataError(f"{folder} has no examples in it; give a folder with a folder of files for each class")
    kept, notes = _of_one_kind(folder, list(owners))
    rows = []
    for path in kept:
        place = path.relative_to(folder).as_posix()
        rows.append(Row(path, owners[path], place) if _media(path) else _text(path, owners[path], place))
    return Found(rows, notes)


def _below(folder: Path) -> list[Path]:
    inside = files_in(folder)
    return [path for path in inside if path.is_file()] + [p for each in inside if each.is_dir() for p in _below(each)]


def _of_one_kind(folder: Path, files: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the sounds, the pictures or the texts among files, whichever they are; other files are told of."""
    kinds = {"sounds": SOUNDS, "pictures": PICTURES, "texts": TEXTS}
    found = {kind: [path for path in files if ending(path) in endings] for kind, endings in kinds.items()}
    several = [kind for kind, paths in found.items() if paths]
    if "texts" in several and len(several) > 1:
        several.remove("texts")  # a README beside recordings
    if not several:
        raise DataError(f"{folder} has no texts (.txt), sounds or pictures in it; give a table or a folder of those")
    if len(several) > 1:
        raise DataError(f"{folder} has {' and '.join(several)} in it; give a folder with one kind of files")
    kept = found[several[0]]
    others = sorted(path.name for path in set(files) - set(kept))
    more = f" and {len(others) - 5:,} more" if len(others) > 5 else ""
    return kept, [f"left out of {folder.name}: {', '.join(others[:5])}{more}"] if others else []


def _media(path: Path) -> bool:
    return ending(path) in SOUNDS | PICTURES


def _lines(path: Path) -> list[Row]:
    """Read a file of one example per line; its label is its name."""
    lines = lines_of(read_text(path))
    return [Row(line, path.stem, f"{path.name}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]


def _text(path: Path, label: str | None, place: str | None = None) -> Row:
    return Row(read_text(path), label, place or path.name)
