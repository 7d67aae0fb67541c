"""The files of a token store: ``index.json`` with a digest of each, shards of ids, ``documents.bin``.

A store of version 1 has one shard, and its documents stand in the index; it is still read.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.data.shards import Shards
from recurra.errors import CorpusError
from recurra.files import write_synced

__all__ = [
    "DOCUMENTS",
    "DTYPES",
    "FORMAT",
    "INDEX",
    "Entry",
    "Index",
    "Part",
    "dtype_for",
    "index_bytes",
    "map_documents",
    "map_shard",
    "read_index",
    "write_part",
]

FORMAT = 2
INDEX = "index.json"
DOCUMENTS = "documents.bin"
DTYPES = ("uint8", "uint16", "uint32")
POSITION = np.dtype("<i8")

ALWAYS_VERIFIED = 1 << 20
"""Bytes of document boundaries that are compared with their digest whenever a store is opened."""


class Entry(NamedTuple):
    """A file of the store: how many numbers it holds, and their digest."""

    file: str
    tokens: int
    sha256: str


class Index(NamedTuple):
    """What ``index.json`` says; `documents` are the positions themselves in a store of version 1."""

    dtype: np.dtype[Any]
    shards: list[Entry]
    documents: Entry | list[int]
    num_chars: int | None
    labelled: bool

    @property
    def tokens(self) -> int:
        """N."""
        return sum(entry.tokens for entry in self.shards)


class Part(NamedTuple):
    """What is written: ids, where documents start, and what `Tokens` knows beside."""

    shards: Shards
    documents: NDArray[np.int64]
    num_chars: int | None
    labelled: bool


def dtype_for(vocab: int) -> np.dtype[Any]:
    """Return the narrowest type for ids below `vocab`."""
    return next(dtype for dtype in map(np.dtype, DTYPES) if vocab <= np.iinfo(dtype).max + 1)


def write_part(folder: Path, part: Part) -> None:
    """Write shards, boundaries and index into a folder that exists."""
    dtype = part.shards.dtype
    entries = []
    for number in range(part.shards.count):
        ids = np.ascontiguousarray(part.shards.array(number), dtype.newbyteorder("<"))
        if len(ids):
            file = f"{number:05d}.bin"
            entries.append(Entry(file, len(ids), write_synced(folder / file, [ids.data])))
    positions = np.ascontiguousarray(part.documents, POSITION)
    documents = Entry(DOCUMENTS, len(positions), write_synced(folder / DOCUMENTS, [positions.data]))
    index = Index(dtype, entries, documents, part.num_chars, part.labelled)
    write_synced(folder / INDEX, [index_bytes(index)])


def index_bytes(index: Index) -> bytes:
    """Return the contents of ``index.json``."""
    assert isinstance(index.documents, Entry)
    file, count, sha256 = index.documents
    values = {
        "version": FORMAT,
        "dtype": index.dtype.name,
        "shards": [entry._asdict() for entry in index.shards],
        "documents": {"file": file, "count": count, "sha256": sha256},
        "num_chars": index.num_chars,
        "labelled": index.labelled,
    }
    return json.dumps(values, indent=1).encode()


def read_index(path: Path) -> Index:
    """Read the index of a store, and compare the sizes of its shards with it.

    Raises: CorpusError if it is missing, damaged or of a newer version.
    """
    try:
        values = json.loads((path / INDEX).read_bytes())
    except OSError as error:
        raise CorpusError(f"{path} is no token store: {error.strerror or error}; make it from its text") from None
    except (ValueError, RecursionError):
        raise _damaged(path, f"{INDEX} is not JSON") from None
    version = values.get("version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise CorpusError(f"{path} is a token store of version {version}, this recurra reads {FORMAT}; upgrade recurra")
    index = _parse(values) if version in (1, FORMAT) else None
    if index is None:
        raise _damaged(path, f"{INDEX} does not describe shards of tokens")
    for entry in index.shards:
        _check_size(path, entry, index.dtype.itemsize)
    return index


def _parse(values: dict[str, Any]) -> Index | None:
    """Return what an index says; None if it does not make sense."""
    try:
        listed, documents = values["shards"], values["documents"]
        shards = [_entry(shard, "tokens") for shard in listed]
        num_chars, labelled = values.get("num_chars"), values.get("labelled", False)
        tokens = sum(entry.tokens for entry in shards)
        if values["version"] == 1:
            starts = sorted({int(start) for start in documents})
            sound = len(shards) == 1 and documents == starts and starts[:1] == [0] and starts[-1] <= tokens
            found: Entry | list[int] = starts
        else:
            found = _entry(documents, "count")
            sound = found.tokens >= 1 and len({entry.file for entry in shards}) == len(shards)
        sound = (
            sound
            and isinstance(listed, list)
            and values["dtype"] in DTYPES
            and isinstance(num_chars, int | None)
            and isinstance(labelled, bool)
        )
        if not sound:
            return None
        return Index(np.dtype(values["dtype"]).newbyteorder("<"), shards, found, num_chars, labelled)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None


def _entry(values: dict[str, Any], count: str) -> Entry:
    file, number, sha256 = values["file"], values[count], values["sha256"]
    if not (isinstance(file, str) and file == os.path.basename(file) and file and "\0" not in file):
        raise ValueError(file)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**62:
        raise ValueError(number)
    if not isinstance(sha256, str):
        raise ValueError(sha256)
    return Entry(file, number, sha256)


def _check_size(path: Path, entry: Entry, itemsize: int) -> None:
    if not entry.tokens:
        return
    try:
        size = (path / entry.file).stat().st_size
    except OSError as error:
        raise _damaged(path, f"{entry.file}: {error.strerror or error}") from None
    if size != entry.tokens * itemsize:
        raise _damaged(path, f"{entry.file} holds {size:,} bytes instead of {entry.tokens * itemsize:,}")


def map_shard(path: Path, index: Index, number: int, *, verify: bool) -> NDArray[Any]:
    """Map a shard into memory. Raises: CorpusError if it is not there any more, or not what its digest says."""
    return _map(path, index.shards[number], index.dtype, verify)


def map_documents(path: Path, index: Index, *, verify: bool) -> NDArray[np.int64]:
    """Return the positions at which documents start, mapped. Raises: CorpusError if they are damaged."""
    if not isinstance(index.documents, Entry):
        return np.asarray(index.documents, np.int64)
    _check_size(path, index.documents, POSITION.itemsize)
    small = index.documents.tokens * POSITION.itemsize <= ALWAYS_VERIFIED
    positions = _map(path, index.documents, POSITION, verify or small)
    sound = positions[0] == 0 and positions[-1] <= index.tokens
    if not sound or ((verify or small) and bool((np.diff(positions) <= 0).any())):
        raise _damaged(path, f"{index.documents.file} does not say where documents start")
    return positions


def _map(path: Path, entry: Entry, dtype: np.dtype[Any], verify: bool) -> NDArray[Any]:
    if not entry.tokens:
        return np.zeros(0, dtype)
    try:
        _check_size(path, entry, dtype.itemsize)
        found = np.memmap(path / entry.file, dtype, "r")
    except (OSError, ValueError) as error:
        raise _damaged(path, f"{entry.file}: {getattr(error, 'strerror', None) or error}") from None
    if verify and hashlib.sha256(found.data).hexdigest() != entry.sha256:
        raise _damaged(path, f"the digest of {entry.file} does not match {INDEX}")
    return found


def _damaged(path: Path, what: str) -> CorpusError:
    return CorpusError(f"the token store {path} is damaged: {what}; make it again from its text")
