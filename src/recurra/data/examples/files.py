"""Bytes and texts of files, each failure one line."""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from pathlib import Path

from recurra.errors import DataError

__all__ = ["decode", "ending", "files_in", "lines_of", "read_bytes", "read_text"]

GZIP = b"\x1f\x8b"
ZIP = b"PK\x03\x04"
STDIN = "standard input"


def ending(path: str | Path) -> str:
    """Return the ending of a file's name in lower case, that of gzip aside: ``.tsv`` of ``Reviews.TSV.gz``."""
    name = Path(path).name.lower()
    return Path(name.removesuffix(".gz")).suffix


def read_bytes(source: str | Path) -> bytes:
    """Return what is in a file, unpacked if it is gzip, or in standard input for ``-``.

    Raises: DataError if it is missing, empty or damaged.
    """
    if str(source) == "-":
        if sys.stdin is None:
            raise DataError("standard input is closed; give a file, or pipe examples into the command")
        source, data = STDIN, sys.stdin.buffer.read()
    else:
        try:
            data = Path(source).read_bytes()
        except FileNotFoundError:
            raise DataError(f"{source} does not exist; give a table, a folder, or - for standard input") from None
        except OSError as error:
            raise DataError(f"cannot read {source}: {error.strerror or error}; check its permissions") from None
        except ValueError as error:  # a NUL in the name itself
            raise DataError(f"cannot read {str(source)!r}: {error}; give the name of a file") from None
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise DataError(f"{source} is damaged: it is no whole gzip file; copy it again") from None
    if data.startswith(ZIP):
        raise DataError(f"{source} is a zip archive; unpack it and give the folder or the table in it")
    if not data.strip():
        raise DataError(f"{source} is empty; give a file with examples")
    return data


def decode(data: bytes, where: str) -> str:
    """Return the text of UTF-8 bytes without a byte order mark.

    Raises: DataError with the line and the offset of the first byte that is no text.
    """
    stop = data.find(b"\0")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts without the mark.
        mark = 3 if data.startswith(b"\xef\xbb\xbf") and error.object != data else 0
        at = error.start + mark
        line = data.count(b"\n", 0, at) + 1
        raise DataError(
            f"{where}, line {line}: not UTF-8, byte 0x{data[at]:02x} at byte offset {at}; convert the file to UTF-8"
        ) from None
    if stop >= 0:
        raise DataError(f"{where} is not text: NUL byte at byte offset {stop}; give a text file in UTF-8")
    return text


def read_text(source: str | Path) -> str:
    """Return the text of a file. Raises: DataError if it is missing, empty, or not UTF-8."""
    return decode(read_bytes(source), STDIN if str(source) == "-" else os.path.basename(source))


def lines_of(text: str) -> list[str]:
    """Cut a text at the line ends of any system, and nowhere else."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def files_in(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted, without hidden ones. Raises: DataError if it is closed."""
    try:
        return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}; check its permissions") from None
