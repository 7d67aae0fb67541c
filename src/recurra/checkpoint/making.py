"""A run directory in the making: nobody else's, and made again if that was cut short."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from recurra.checkpoint.files import named_failures
from recurra.errors import RunError
from recurra.files import sync, try_lock

__all__ = ["MARKER", "is_being_made", "is_unfinished", "making"]

MARKER = "unfinished"
TEXT = b"This run directory is being made. If that was cut short, the same command makes it again.\n"


def is_unfinished(folder: Path) -> bool:
    """Whether the making of a run directory has begun and not ended."""
    return (folder / MARKER).is_file()


def is_being_made(folder: Path) -> bool:
    """Whether another process is making a run directory there, as far as its file system knows locks."""
    try:
        with (folder / MARKER).open("rb") as marker:
            return not try_lock(marker.fileno())
    except OSError:
        return False


@contextlib.contextmanager
def making(folder: Path, *parts: Path) -> Iterator[None]:
    """Within it a folder is made; it is taken for a run directory only afterwards. An exception removes it.

    A marker file is the first thing in it and the last to go, and is locked in between. What a process that was killed
    has left is removed, as the marker shows that nothing else was ever there.

    Args:
        folder: not there, empty, or unfinished, which the caller has checked.
        parts: folders to make in it.
    Raises: RunError if another process is making it, or it cannot be written.
    """
    marker = folder / MARKER
    with named_failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _claim(marker, is_new=not is_unfinished(folder))
    try:
        with named_failures(folder):
            for left in folder.iterdir():
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
                elif left != marker:
                    left.unlink()
            for part in parts:
                part.mkdir(parents=True)
        yield
        with named_failures(folder):
            sync(folder)
            marker.unlink()
            sync(folder)
    except BaseException:
        # Without its first checkpoint it is no run: nothing is left behind.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def _claim(marker: Path, *, is_new: bool) -> int:
    """Return a descriptor of the marker, locked until it is closed or the process ends."""
    taken = RunError(f"{marker.parent} is being made by another process; choose another --out")
    try:
        descriptor = os.open(marker, os.O_RDWR | (os.O_CREAT | os.O_EXCL if is_new else 0), 0o644)
    except (FileExistsError, FileNotFoundError):
        raise taken from None
    try:
        if not try_lock(descriptor):
            raise taken
        # Between the look and the lock another process may have finished it.
        if not marker.exists() or os.fstat(descriptor).st_ino != marker.stat().st_ino:
            raise taken
        if is_new:
            if any(entry != marker for entry in marker.parent.iterdir()):
                marker.unlink()
                raise taken
            os.write(descriptor, TEXT)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
