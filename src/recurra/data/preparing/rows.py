"""Rows of tables, of which one column holds texts: lines of JSON, Parquet, data sets of Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from recurra.data.preparing.sources import Source, open_dataset, open_parquet
from recurra.data.text import Text, check_unicode, not_text, reading
from recurra.errors import CorpusError
from recurra.libraries import need

__all__ = ["dataset_rows", "json_rows", "parquet_rows"]

ROWS = 256
"""Rows read at once."""
DEFAULT = "text"


def json_rows(chunks: Iterable[bytes], source: Source, offset: int) -> Iterator[Text | None]:
    """Yield the text of each line: a string, or that of a column of an object; None where there is none.

    Args:
        offset: of the first byte in the file, which begins a line.
    Raises: CorpusError with the number of a line that is not JSON, or lacks the column.
    """
    column, start = source.column or DEFAULT, offset
    for line in _lines(chunks):
        if line.strip():
            try:
                yield _text_of(line, column, source, start)
            except _BadLineError as error:
                where = f"{source.name}, line {_lines_before(source, offset, start) + 1}"
                raise CorpusError(f"{where}: {error}") from None
        start += len(line) + 1


class _BadLineError(Exception):
    pass


def _text_of(line: bytes, column: str, source: Source, start: int) -> str | None:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise not_text(source.name, line[error.start], start + error.start) from None
    except (ValueError, RecursionError) as error:
        raise _BadLineError(f"not JSON: {getattr(error, 'msg', 'too deep')}; write one value on each line") from None
    if isinstance(row, dict):
        if column not in row:
            names = ", ".join(map(str, row)) or "none"
            raise _BadLineError(f"no column '{column}', but {names}; name the column of texts with --input")
        row = row[column]
    if row is not None and not isinstance(row, str):
        raise _BadLineError(f"a {type(row).__name__} where a text is needed; name the column of texts with --input")
    return None if row is None else check_unicode(row, source.name)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        yield from lines
    if rest:
        yield rest


def _lines_before(source: Source, offset: int, start: int) -> int:
    """Count the line ends before a place; in what is compressed by unpacking it again."""
    import gzip

    path = Path(source.name)
    with reading(path):
        if source.packing == "zst":
            with path.open("rb") as packed, need("zstandard").ZstdDecompressor().stream_reader(packed) as file:
                return _count_lines(file, start)
        with gzip.open(path) if source.packing == "gz" else path.open("rb") as file:
            return _count_lines(file, start)


def _count_lines(file: Any, stop: int) -> int:
    count = 0
    while stop > 0 and (data := file.read(min(stop, 1 << 20))):
        count += data.count(b"\n")
        stop -= len(data)
    return count


def parquet_rows(source: Source, start: int, stop: int) -> Iterator[Text | None]:
    """Yield the texts of row groups. Raises: CorpusError if they are damaged."""
    arrow, file = need("pyarrow"), open_parquet(source.name)
    try:
        groups = list(range(start, stop))
        for batch in file.iter_batches(ROWS, row_groups=groups, columns=[source.column], use_threads=False):
            yield from _values(batch.column(0).to_pylist(), source)
    except (arrow.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise CorpusError(f"{source.name} is damaged: {reason}; copy or write it again") from None
    except UnicodeDecodeError as error:
        raise CorpusError(f"{source.name} holds a text that is not UTF-8: {error.reason}; write it again") from None


def dataset_rows(source: Source, start: int, stop: int) -> Iterator[Text | None]:
    """Yield the texts of rows of a data set."""
    column = open_dataset(source.name).select_columns([source.column]).with_format("arrow")
    for begin in range(start, stop, ROWS):
        yield from _values(column[begin : min(begin + ROWS, stop)].column(0).to_pylist(), source)


def _values(values: list[Any], source: Source) -> Iterator[Text | None]:
    for value in values:
        if isinstance(value, str):
            check_unicode(value, source.name)
        yield value
