"""Reading texts as they are: a file, a folder of files, or standard input. Nothing is normalised on the way."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from recurra.errors import CorpusError

__all__ = [
    "GZIP",
    "LONGEST_WORD",
    "Documents",
    "Text",
    "check_unicode",
    "compressed",
    "decode_text",
    "files_below",
    "not_text",
    "read_documents",
    "reading",
    "split_documents",
    "without_damage",
]

Text = str | bytes
"""Text for the tokenizers of characters, words and pairs; bytes for the one of bytes."""

GZIP = b"\x1f\x8b"
LONGEST_WORD = 1000
"""Characters to look ahead for the end of a word; scripts without spaces are cut where they stand."""

_SPACE = re.compile(r"\s")


class Documents(NamedTuple):
    """Texts in reading order, and one line about each thing a user should know of them."""

    texts: list[Text]
    notes: list[str]


def read_documents(source: str | Path, *, raw: bool = False) -> Documents:
    """Read a file, every text file in a folder (sorted, folders below included), or ``-`` for standard input.

    Args:
        raw: keep bytes, whatever they are; otherwise each document must be UTF-8 and its line ends stay untouched.
    Raises: CorpusError if there is nothing to read, or it is not text.
    """
    if str(source) == "-":
        return Documents([_as_document(_read_stdin(), "standard input", raw)], [])
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, raw)
    return Documents([_as_document(_read_file(path), str(path), raw)], [])


def decode_text(data: bytes, where: str) -> str:
    """Decode UTF-8 strictly; byte order marks and line ends stay.

    Raises: CorpusError with the offset of the first byte that is not text.
    """
    if data.startswith(GZIP):
        raise compressed(where)
    zero = data.find(b"\0")
    if zero >= 0:
        raise not_text(where, 0, zero)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_text(where, data[error.start], error.start) from None


def compressed(where: str, command: str = "recurra train -") -> CorpusError:
    """Return the error for a file that is to be unpacked first."""
    return CorpusError(f"{where} is compressed with gzip; unpack it first: gzip -dc FILE | {command}")


def not_text(where: str, byte: int, offset: int) -> CorpusError:
    """Return the error for a byte that stands where no text has one."""
    if not byte:
        return CorpusError(
            f"{where} is not text: NUL byte at byte offset {offset}; "
            f"give a text file, or --tokenizer byte for any bytes"
        )
    return CorpusError(
        f"{where} is not UTF-8: byte 0x{byte:02x} at byte offset {offset}; "
        f"convert it to UTF-8, or --tokenizer byte takes it as it is"
    )


def check_unicode(text: str, where: str) -> str:
    """Return `text`. Raises: CorpusError for half a surrogate pair, which no file can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{where} holds half a surrogate pair at character {error.start}; decode the text with errors='replace'"
        ) from None
    return text


def split_documents(texts: Sequence[Text], cut: int, *, whole_words: bool) -> tuple[list[Text], list[Text]]:
    """Cut documents, taken as one, into what lies before a position and what lies after it.

    Args:
        cut: number of characters (or bytes) in the first part.
        whole_words: move the cut to the end of the word it would go through. A cut through the bytes of one
            character always moves behind it.
    """
    for number, text in enumerate(texts):
        if cut < len(text):
            cut = without_damage(text, cut, whole_words)
            before, after = [*texts[:number], text[:cut]], [text[cut:], *texts[number + 1 :]]
            return [text for text in before if text], [text for text in after if text]
        cut -= len(text)
    return list(texts), []


def without_damage(text: Text, cut: int, whole_words: bool) -> int:
    """Return a position at or behind `cut` that goes neither through a character nor, if asked for, a word."""
    if isinstance(text, bytes):
        ends = range(cut, min(cut + 4, len(text)))
        return next((end for end in ends if text[end] & 0xC0 != 0x80), ends.stop) if cut > 0 else 0
    if not whole_words or cut == 0:
        return cut
    if text[cut - 1 : cut + 1] == "\r\n":
        return cut + 1
    if text[cut - 1].isspace():
        return cut
    found = _SPACE.search(text, cut, cut + LONGEST_WORD)
    return found.start() if found else cut


def _as_document(data: bytes, where: str, raw: bool) -> Text:
    if not data:
        raise CorpusError(f"{where} is empty; give a text to learn from")
    return data if raw else decode_text(data, where)


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise CorpusError("standard input is closed; give a file, or pipe a text into the command")
    return sys.stdin.buffer.read()


def _read_file(path: Path) -> bytes:
    with reading(path):
        return path.read_bytes()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says about a file that cannot be read into an error of ours."""
    try:
        yield
    except FileNotFoundError:
        raise CorpusError(f"{path} does not exist; give a text file, a folder of text files, or - for stdin") from None
    except OSError as error:
        raise CorpusError(
            f"cannot read {path}: {error.strerror or error}; check the path and its permissions"
        ) from None
    except ValueError as error:  # a NUL in the name itself
        raise CorpusError(f"cannot read {str(path)!r}: {error}; give the name of a text file") from None


def _read_folder(folder: Path, raw: bool) -> Documents:
    texts: list[Text] = []
    left_out: list[str] = []
    for path in files_below(folder):
        data, name = _read_file(path), path.relative_to(folder).as_posix()
        if not data:
            left_out.append(f"{name} (empty)")
        elif not raw and b"\0" in data[:8192]:
            left_out.append(f"{name} (not text)")
        else:
            texts.append(_as_document(data, str(path), raw))
    if not texts:
        raise CorpusError(f"{folder} has no text files in it; give a text file or a folder of text files")
    if not left_out:
        return Documents(texts, [])
    more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
    return Documents(texts, [f"left out of {folder}: {', '.join(left_out[:5])}{more}"])


def files_below(folder: Path) -> list[Path]:
    """Return the files of a folder and of those below it, sorted, hidden ones left out."""

    def refuse(error: OSError) -> None:
        raise CorpusError(f"cannot read {error.filename}: {error.strerror}; check its permissions")

    files = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted((path for path in files if path.is_file()), key=Path.as_posix)
