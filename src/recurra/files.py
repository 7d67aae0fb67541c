"""Files and folders that are either whole, and on the disk, or not there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from recurra.errors import RecurraError

__all__ = ["file_digest", "new_folder", "sync", "try_lock", "write_synced"]


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, pieces: Iterable[Any]) -> str:
    """Write buffers one after the other, force them to the disk, and return their sha256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed or the process ends; return False if another one holds it.

    Where the system, or the file system, has no locks, nobody is kept out.
    """
    try:
        import fcntl
    except ImportError:
        return True
    with contextlib.suppress(OSError):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextlib.contextmanager
def new_folder(folder: str | os.PathLike[str], error: type[RecurraError]) -> Iterator[Path]:
    """Give a temporary folder beside `folder`, and its name when the block ends well; an exception leaves nothing.

    Args:
        error: what is raised if `folder` exists, or the system refuses: a full disk, a missing permission.
    """
    target = Path(folder)
    if target.exists() or target.is_symlink():
        raise error(f"{target} exists already; remove it or choose another name")
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir()
        yield scratch
        for path in (*scratch.rglob("*"), scratch):
            sync(path)
        os.rename(scratch, target)
        sync(target.parent)
    except OSError as refusal:
        raise error(f"cannot write {target}: {refusal.strerror or refusal}; nothing was half-written") from refusal
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
