"""What is read in one go: files cut into segments of about the same size, small ones together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from recurra.data.preparing.sources import Source, open_parquet
from recurra.data.text import reading

__all__ = ["Segment", "plan_jobs"]

JOB = 1 << 26
"""Bytes that one job reads, about; what is compressed is read whole."""
UNPACKED = 4
"""By how much text shrinks when it is compressed, about."""
LOOK_AHEAD = 1 << 20
"""Bytes in which white space is looked for, at which words and pairs can be cut."""


class Segment(NamedTuple):
    """A stretch of a source: bytes, row groups, or rows; `stop` is -1 for all of what is compressed."""

    source: int
    start: int
    stop: int


def plan_jobs(sources: Sequence[Source], *, anywhere: bool) -> list[list[Segment]]:
    """Cut sources into jobs, which can be done in any order.

    Args:
        anywhere: a text may be cut between any two characters, not only where a word ends.
    """
    jobs, size, filled = list[list[Segment]](), JOB, JOB
    for number, source in enumerate(sources):
        for segment, weight in _segments(number, source, anywhere, size):
            if filled + weight > size:
                jobs.append([])
                filled = 0
            jobs[-1].append(segment)
            filled += weight
    return jobs


def _segments(number: int, source: Source, anywhere: bool, size: int) -> list[tuple[Segment, int]]:
    if source.packing:
        return [(Segment(number, 0, -1), source.size * UNPACKED)]
    if source.format == "dataset":
        rows = max(1, source.rows * size // max(source.size, 1))
        ends = [*range(rows, source.rows, rows), source.rows]
        return _between(number, ends, [source.size * rows // max(source.rows, 1)] * len(ends))
    if source.format == "parquet":
        return _row_groups(number, source, size)
    path, ends = Path(source.name), list[int]()
    with reading(path):
        for nominal in range(size, source.size, size):
            cut = _next_line(path, nominal) if source.format == "jsonl" else _safe_place(path, nominal, anywhere)
            if (ends[-1] if ends else 0) < cut < source.size:
                ends.append(cut)
    ends.append(source.size)
    return _between(number, ends, [end - start for start, end in zip([0, *ends], ends, strict=False)])


def _between(number: int, ends: Sequence[int], weights: Sequence[int]) -> list[tuple[Segment, int]]:
    starts = [0, *ends[:-1]]
    return [(Segment(number, a, b), w) for a, b, w in zip(starts, ends, weights, strict=True) if b > a]


def _row_groups(number: int, source: Source, size: int) -> list[tuple[Segment, int]]:
    metadata = open_parquet(source.name).metadata
    ends, weights, filled = list[int](), list[int](), 0
    for group in range(metadata.num_row_groups):
        filled += metadata.row_group(group).total_byte_size
        if filled >= size or group == metadata.num_row_groups - 1:
            ends.append(group + 1)
            weights.append(filled)
            filled = 0
    return _between(number, ends, weights)


def _next_line(path: Path, position: int) -> int:
    """Return where the next line begins at or after a position."""
    with path.open("rb") as file:
        file.seek(position - 1)
        file.readline()
        return file.tell()


def _safe_place(path: Path, position: int, anywhere: bool) -> int:
    """Return the next place where a text can be cut so that the tokens of both parts are those of the whole.

    A place before white space that follows something visible, or else, as for characters, between two of them.
    """
    with path.open("rb") as file:
        file.seek(position - 4)
        data = file.read(4 + (16 if anywhere else LOOK_AHEAD))
    if not anywhere:
        for place in range(4, len(data)):
            # Its last character is whole even where the four bytes cut another one.
            if data[place] in b" \n\t\r" and not data[place - 4 : place].decode("utf-8", "ignore")[-1:].isspace():
                return position - 4 + place
        if len(data) < 4 + LOOK_AHEAD:
            return position - 4 + len(data)
    return position + next((n for n in range(4) if data[4 + n : 5 + n] < b"\x80" or data[4 + n] >= 0xC0), 0)
