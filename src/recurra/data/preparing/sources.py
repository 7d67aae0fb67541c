"""What is to be read: files, folders and data sets, each with what tells whether it has changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recurra.data.text import files_below, reading
from recurra.errors import CorpusError
from recurra.libraries import need

__all__ = ["Source", "find_column", "find_sources", "open_dataset", "open_parquet"]

PACKINGS = {".gz": "gz", ".zst": "zst"}
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
REFUSED = (
    ".7z", ".arrow", ".bz2", ".doc", ".docx", ".epub", ".feather", ".h5", ".json", ".lz4", ".npy", ".npz", ".orc",
    ".pdf", ".pkl", ".pt", ".rar", ".safetensors", ".tar", ".tgz", ".xz", ".zip",
)  # fmt: skip
HUB = "hf:"
LOOKED_AT = 8192
"""Bytes at the beginning of a file of a folder that tell whether it is text."""


class Source(NamedTuple):
    """A file, or a data set.

    Args:
        name: its path, or ``hf:...``.
        format: text, jsonl, parquet or dataset.
        packing: gz, zst, or nothing.
        size: bytes as they lie; of a data set, of its rows in memory.
        stamp: changes when it does.
        rows: of a data set.
        column: of texts, in a table.
    """

    name: str
    format: str
    packing: str
    size: int
    stamp: str
    rows: int = 0
    column: str = ""


def find_sources(files: Sequence[str], *, raw: bool, column: str | None) -> tuple[list[Source], list[str]]:
    """Find what is to be read, in the order given, files of a folder sorted, and a line about what is left out.

    Args:
        raw: any bytes are good.
        column: of texts, in tables; by default found by name.
    Raises: CorpusError for what is missing, empty, or of a kind that is not read.
    """
    sources, notes = list[Source](), list[str]()
    for name in files:
        if name.startswith(HUB):
            sources.append(_dataset(name, column))
        elif name == "-":
            raise CorpusError("standard input cannot be read again after an interruption; give a file")
        elif Path(name).is_dir():
            found, left_out = _folder(Path(name), raw, column)
            sources += found
            notes += left_out
        else:
            sources.append(_file(Path(name), raw, column))
    tables = any(source.format != "text" for source in sources)
    if column is not None and not tables:
        raise CorpusError(f"--input {column} names a column, but there are only plain texts; leave it out")
    return sources, notes


def _file(path: Path, raw: bool, column: str | None) -> Source:
    with reading(path):
        found = path.stat()
        path.open("rb").close()
    if not found.st_size:
        raise CorpusError(f"{path} is empty; give a text to learn from")
    packing, form = _kind(path)
    if packing is None or (form is None and not raw):
        raise CorpusError(
            f"{path} is not read here: it ends with {path.suffix}; give text, .jsonl or .parquet, "
            f"the first two also as .gz or .zst"
        )
    name = column or "" if form != "parquet" else find_column(open_parquet(path).schema_arrow, str(path), column)
    return Source(str(path), form or "text", packing, found.st_size, str(found.st_mtime_ns), 0, name)


def _kind(path: Path) -> tuple[str | None, str | None]:
    """Return packing and format by what a name ends with: packing None where it cannot be, format None if unknown."""
    packing = PACKINGS.get(path.suffix.lower(), "")
    inner = Path(path.stem).suffix.lower() if packing else path.suffix.lower()
    form = None if inner in REFUSED else FORMATS.get(inner, "text")
    return (None if packing and form in (None, "parquet") else packing), form


def _folder(folder: Path, raw: bool, column: str | None) -> tuple[list[Source], list[str]]:
    sources, left_out = [], []
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        packing, form = _kind(path)
        with reading(path), path.open("rb") as file:
            beginning = file.read(LOOKED_AT)
        if not beginning:
            left_out.append(f"{name} (empty)")
        elif packing is None or (form is None and not raw):
            left_out.append(f"{name} ({path.suffix})")
        elif form == "text" and not packing and not raw and b"\0" in beginning:
            left_out.append(f"{name} (not text)")
        else:
            sources.append(_file(path, raw, column))
    if not sources:
        raise CorpusError(f"{folder} has no text files in it; give a text file or a folder of text files")
    if not left_out:
        return sources, []
    more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
    return sources, [f"left out of {folder}: {', '.join(left_out[:5])}{more}"]


def open_parquet(path: Path | str) -> Any:
    """Open a Parquet file, to be read page by page. Raises: CorpusError if it is none, or damaged."""
    parquet, arrow = need("pyarrow.parquet"), need("pyarrow")
    try:
        return parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except (arrow.ArrowException, OSError) as error:
        raise CorpusError(f"{path} is damaged, or no Parquet: {_line(error)}") from None


def open_dataset(name: str) -> Any:
    """Open ``hf:NAME``, ``hf:NAME@CONFIG``, each also with ``:SPLIT``, or ``hf:FOLDER`` of `Dataset.save_to_disk`.

    Raises: CorpusError if the library cannot.
    """
    datasets = need("datasets")
    datasets.disable_progress_bars()
    where, _, split = name.removeprefix(HUB).partition(":")
    where, _, config = where.partition("@")
    try:
        if os.path.isdir(where) and any(
            os.path.exists(os.path.join(where, f)) for f in ("state.json", "dataset_dict.json")
        ):
            found = datasets.load_from_disk(where)
        else:
            found = datasets.load_dataset(where, config or None, split=split or "train")
        return found[split or "train"] if isinstance(found, dict) else found
    except Exception as error:  # the library raises what its own libraries do
        raise CorpusError(f"datasets cannot open {name}: {type(error).__name__}: {_line(error)}") from None


def _dataset(name: str, column: str | None) -> Source:
    dataset = open_dataset(name)
    chosen = find_column(dataset.features.arrow_schema, name, column)
    stamp = getattr(dataset, "_fingerprint", "")
    return Source(name, "dataset", "", int(dataset.data.nbytes), stamp, len(dataset), chosen)


def find_column(schema: Any, where: str, column: str | None) -> str:
    """Return the column of texts of a table: the one asked for, ``text``, or the only one of strings.

    Raises: CorpusError if there is no such column, or several.
    """
    types = need("pyarrow").types
    good = [
        field.name
        for field in schema
        if types.is_string(field.type) or types.is_large_string(field.type) or types.is_binary(field.type)
    ]
    if column is not None and column in good:
        return column
    if column is None and ("text" in good or len(good) == 1):
        return "text" if "text" in good else str(good[0])
    names = ", ".join(good) or "none"
    if column is not None:
        raise CorpusError(f"{where} has no column of texts '{column}'; it has: {names}")
    raise CorpusError(f"{where} has several columns of texts or none: {names}; name one with --input")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
