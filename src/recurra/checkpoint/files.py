"""Writing files so that they are either whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recurra.errors import RecurraError, RunError
from recurra.files import write_synced

__all__ = [
    "append_text",
    "named_failures",
    "read_json",
    "understood",
    "write_atomically",
]


@contextlib.contextmanager
def named_failures(path: Path) -> Iterator[None]:
    """Turn an operating system's error into one line that names the path: a full disk, a missing permission."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; nothing was half-written") from error


@contextlib.contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn whatever a checkpoint that is no checkpoint leads to into one line: digests say nothing of what is meant."""
    try:
        yield
    except RecurraError:
        raise
    except (AttributeError, LookupError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise RunError(f"the checkpoint of {path} does not describe this run ({why}); start a new run") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under another name, force it to the disk and rename it.

    Raises: RunError if the disk is full or the folder cannot be written; the old file is then untouched.
    """
    scratch = path.with_name(path.name + ".tmp")
    with named_failures(path):
        try:
            write_synced(scratch, [data])
            os.replace(scratch, path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


def append_text(path: Path, text: str) -> None:
    """Append to a file; what cannot be written whole is taken back."""
    with named_failures(path):
        size = path.stat().st_size if path.exists() else 0
        try:
            with path.open("ab") as file:
                file.write(text.encode())
        except OSError:
            os.truncate(path, size)
            raise


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises: RunError if it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path}: it is damaged ({error})") from error
