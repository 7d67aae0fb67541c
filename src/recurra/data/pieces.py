"""Texts read piece by piece, in memory that does not depend on how long they are."""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recurra.data.text import GZIP, Text, compressed, not_text, reading
from recurra.data.tokenizers import Tokenizer
from recurra.data.tokenizers.base import Ids
from recurra.errors import CorpusError

__all__ = ["AGAIN", "IDLE", "Pieces", "TextDecoder", "follow", "read_pieces"]

PIECE = 1 << 16
"""Bytes read at once."""
LONGEST_PENDING = 1 << 20
"""Characters that may wait for a border, such as the end of a word; after that they are cut where they stand."""

IDLE = "idle"
AGAIN = "again"


def read_pieces(source: str | Path) -> Iterator[bytes]:
    """Yield the bytes of a file, or of standard input (``-``) as they come.

    Raises: CorpusError if it cannot be read.
    """
    if str(source) == "-":
        if sys.stdin is None:
            raise CorpusError("standard input is closed; give a file, or pipe a text into the command")
        yield from iter(lambda: _read_some(sys.stdin.buffer), b"")
        return
    path = Path(source)
    with reading(path), path.open("rb") as file:
        yield from iter(lambda: file.read(PIECE), b"")


def follow(path: Path, *, poll_s: float = 0.2, sleep: Callable[[float], None] = time.sleep) -> Iterator[bytes | str]:
    """Yield the bytes of a file that grows, for ever.

    Args:
        path: what is read from its beginning, then again whenever it has grown.
        poll_s: seconds between two looks at it.
    Yields: bytes; `IDLE` where there are no more for now; `AGAIN` before the first bytes of another file under the
        same name, or of the same one after it was cut short. The old file is read to its end before.
    Raises: CorpusError if there is no such file to begin with, or it cannot be read.
    """
    while True:
        with reading(path), path.open("rb") as file:
            while True:
                piece = file.read(PIECE)
                if piece:
                    yield piece
                    continue
                yield IDLE
                if _is_another(path, file):
                    # What was written between the last read and the change of name belongs to the old file.
                    if os.fstat(file.fileno()).st_size >= file.tell():
                        yield from iter(lambda: file.read(PIECE), b"")
                    break
                sleep(poll_s)
        yield AGAIN
        while not path.exists():  # between the two steps of a rotation
            sleep(poll_s)


def _is_another(path: Path, file: BinaryIO) -> bool:
    """Is there another file of this name, or has the open one become shorter than what was read of it?"""
    mine = os.fstat(file.fileno())
    if mine.st_size < file.tell():
        return True
    try:
        now = path.stat()
    except FileNotFoundError:
        return False  # wait for the next one, while the old one may still grow
    return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino)


def _read_some(stream: BinaryIO) -> bytes:
    """Return what is there, without waiting until a piece is full."""
    read = getattr(stream, "read1", stream.read)
    return bytes(read(PIECE))


class TextDecoder:
    """UTF-8 to text, piece by piece: a character may be cut anywhere.

    What stands before the first byte that is no text is returned; the call after that raises.

    Args:
        where: what is read, for errors.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._offset = 0
        self._error: CorpusError | None = None

    def feed(self, data: bytes) -> str:
        """Return the text of the characters that are whole by now. Raises: CorpusError with the place of a bad byte."""
        self._check()
        if self._offset == 0 and data.startswith(GZIP):
            raise compressed(self.where, "recurra score RUN -")
        zero = data.find(b"\0")
        if zero >= 0:
            data, self._error = data[:zero], not_text(self.where, 0, self._offset + zero)
        return self._decode(data, final=zero >= 0)

    def finish(self) -> str:
        """Return what is left. Raises: CorpusError if the text ends within a character."""
        self._check()
        left = self._decode(b"", final=True)
        self._check()
        return left

    def _decode(self, data: bytes, *, final: bool) -> str:
        waiting = self._decoder.getstate()[0]
        start, self._offset = self._offset - len(waiting), self._offset + len(data)
        try:
            return self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            whole = waiting + data
            self._error = not_text(self.where, whole[error.start], start + error.start)
            return whole[: error.start].decode()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error


class Pieces:
    """Text to ids, piece by piece: together they are the ids of the whole text.

    What may belong to a token that goes on, such as half a word, waits for what follows; a million characters without
    a border are cut where they stand.

    Args:
        tokenizer: whose ids.
        seen: called with each text that is encoded, and what `Tokenizer.lookup` gave.
    """

    def __init__(self, tokenizer: Tokenizer, seen: Callable[[Text, Ids], None] | None = None) -> None:
        self.tokenizer, self._seen = tokenizer, seen
        self._waiting: Text = b"" if tokenizer.kind == "byte" else ""
        self._begun = False

    @property
    def waiting(self) -> Text:
        """What has been given and not been encoded yet."""
        return self._waiting

    def feed(self, text: Text) -> Ids:
        """Return the ids that are certain by now: of a text that goes on, or of bytes for the tokenizer of bytes."""
        whole = self._waiting + text  # type: ignore[operator]
        border = self.tokenizer.border(whole)
        if len(whole) - border > LONGEST_PENDING:
            border = len(whole)
        return self._take(whole, border)

    def finish(self) -> Ids:
        """Return the ids of all that waits, as if the text ended here; it may go on nevertheless."""
        return self._take(self._waiting, len(self._waiting))

    def restart(self) -> None:
        """Begin another text; nothing must wait."""
        self._begun = False

    def _take(self, whole: Text, border: int) -> Ids:
        text, self._waiting = whole[:border], whole[border:]
        if not text:
            return np.zeros(0, np.int32)
        if self._begun and isinstance(text, str):
            text = self.tokenizer.sequel(text)
        self._begun = True
        found = self.tokenizer.lookup(text)
        if self._seen is not None:
            self._seen(text, found)
        absent = found < 0
        if not absent.any():
            return found
        if self.tokenizer.unknown is None:
            return found[~absent]
        return np.where(absent, self.tokenizer.unknown, found).astype(np.int32)
