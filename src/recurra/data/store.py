"""Arrays of token ids on disk: a folder with ``index.json`` and one shard, memory-mapped when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.errors import CorpusError

__all__ = ["FORMAT", "Tokens", "new_folder"]

FORMAT = 1
SHARD = "00000.bin"
DTYPES = ("uint8", "uint16", "uint32")


class Tokens:
    """A one-dimensional array of token ids that the operating system reads as it is used.

    Args:
        ids: (N,) unsigned integers, memory-mapped or not.
        documents: ascending positions at which documents start, the first of them 0. Each but the last document
            ends with an end of text.
        num_chars: characters that the tokens stand for, if known.
        labelled: each document begins with its label, which is read but never predicted.
    """

    def __init__(
        self,
        ids: NDArray[Any],
        documents: Sequence[int] | NDArray[Any] = (0,),
        num_chars: int | None = None,
        labelled: bool = False,
    ) -> None:
        self.ids = ids
        self.documents: NDArray[np.int64] = np.asarray(documents, np.int64)
        self.num_chars = num_chars
        self.labelled = labelled

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<{len(self):,} tokens, {len(self.documents)} documents>"

    @property
    def starts(self) -> NDArray[np.int64]:
        """Positions of the tokens before which all is forgotten, the first of them 0.

        A document ends with its end of text, which as an input begins the next one, unless that has a label to begin.
        """
        later = self.documents[self.documents > 0]
        return np.concatenate([[0], later if self.labelled else later - 1])

    @classmethod
    def in_scratch(
        cls,
        parts: Sequence[NDArray[Any]],
        *,
        vocab: int,
        documents: Sequence[int] = (0,),
        num_chars: int | None = None,
        labelled: bool = False,
    ) -> Tokens:
        """Hold the concatenation of `parts` in a nameless temporary file that goes when it is no longer used.

        Raises: CorpusError if there is no room for it.
        """
        dtype = _dtype_for(vocab)
        if not any(map(len, parts)):
            return cls(np.zeros(0, dtype), documents, num_chars, labelled)
        try:
            with tempfile.TemporaryFile(prefix="recurra-") as file:
                for part in parts:
                    file.write(part.astype(dtype).data)
                file.flush()
                return cls(np.memmap(file, dtype, "r"), documents, num_chars, labelled)
        except OSError as error:
            folder = tempfile.gettempdir()
            raise CorpusError(
                f"cannot keep tokens in {folder}: {error.strerror or error}; make room, or set TMPDIR to another folder"
            ) from None

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a store; the folder appears whole or not at all. Raises: CorpusError if it exists or is refused."""
        with new_folder(folder) as scratch:
            self.write(scratch)

    def write(self, folder: Path) -> None:
        """Write shard and index into a folder that exists, without ceremony."""
        data = np.ascontiguousarray(self.ids).data
        _write_synced(folder / SHARD, data)
        index = {
            "version": FORMAT,
            "dtype": self.ids.dtype.name,
            "shards": [{"file": SHARD, "tokens": len(self), "sha256": hashlib.sha256(data).hexdigest()}],
            "documents": self.documents.tolist(),
            "num_chars": self.num_chars,
            "labelled": self.labelled,
        }
        _write_synced(folder / "index.json", json.dumps(index, indent=1).encode())

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, verify: bool = False) -> Tokens:
        """Map a store into memory; nothing is read until it is used, unless digests are to be verified.

        Raises: CorpusError if it is missing, damaged, truncated or of a newer version.
        """
        path = Path(folder)
        try:
            index = json.loads((path / "index.json").read_bytes())
        except OSError as error:
            raise CorpusError(f"{path} is no token store: {error.strerror or error}; make it from its text") from None
        except (ValueError, RecursionError):
            raise _damaged(path, "index.json is not JSON") from None
        shard, dtype, tokens = _check_index(path, index)
        about = index["documents"], index.get("num_chars"), index.get("labelled", False)
        if not tokens:
            return cls(np.zeros(0, dtype), *about)
        try:
            size = shard.stat().st_size
            if size != tokens * dtype.itemsize:
                raise _damaged(path, f"{shard.name} holds {size:,} bytes instead of {tokens * dtype.itemsize:,}")
            ids = np.memmap(shard, dtype, "r")
        except OSError as error:
            raise _damaged(path, f"{shard.name}: {error.strerror or error}") from None
        if verify and hashlib.sha256(ids.data).hexdigest() != index["shards"][0]["sha256"]:
            raise _damaged(path, f"the digest of {shard.name} does not match index.json")
        return cls(ids, *about)


@contextlib.contextmanager
def new_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside `folder` and rename it at the end; an exception leaves nothing behind.

    Raises: CorpusError if `folder` exists, or the system refuses: a full disk, a missing permission.
    """
    target = Path(folder)
    if target.exists():
        raise CorpusError(f"{target} exists already; remove it or choose another name")
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir()
        yield scratch
        os.rename(scratch, target)
    except OSError as error:
        raise CorpusError(f"cannot write {target}: {error.strerror or error}; nothing was half-written") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _dtype_for(vocab: int) -> np.dtype[Any]:
    return next(dtype for dtype in map(np.dtype, DTYPES) if vocab <= np.iinfo(dtype).max + 1)


def _write_synced(path: Path, data: Any) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _check_index(path: Path, index: Any) -> tuple[Path, np.dtype[Any], int]:
    version = index.get("version") if isinstance(index, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise CorpusError(f"{path} is a token store of version {version}, this recurra reads {FORMAT}; upgrade recurra")
    try:
        shards, documents = index["shards"], index["documents"]
        file, tokens = shards[0]["file"], shards[0]["tokens"]
        sound = (
            version == FORMAT
            and index["dtype"] in DTYPES
            and len(shards) == 1
            and isinstance(tokens, int)
            and tokens >= 0
            and isinstance(shards[0]["sha256"], str)
            and file == os.path.basename(file)
            and documents == sorted({int(start) for start in documents})
            and documents[:1] == [0]
            and documents[-1] <= tokens
            and isinstance(index.get("num_chars"), int | None)
            and isinstance(index.get("labelled", False), bool)
        )
    except (KeyError, TypeError, ValueError, IndexError):
        sound = False
    if not sound:
        raise _damaged(path, "index.json does not describe one shard of tokens")
    return path / file, np.dtype(index["dtype"]).newbyteorder("<"), tokens


def _damaged(path: Path, what: str) -> CorpusError:
    return CorpusError(f"the token store {path} is damaged: {what}; make it again from its text")
