"""Texts of a job in stretches of bounded size, each of which can be tokenised by itself."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from recurra.data.preparing.planning import Segment
from recurra.data.preparing.rows import dataset_rows, json_rows, parquet_rows
from recurra.data.preparing.sources import Source
from recurra.data.text import GZIP, Text, compressed, not_text, reading
from recurra.data.tokenizers import Tokenizer
from recurra.errors import CorpusError
from recurra.libraries import need

__all__ = ["Stretch", "clip", "read_job"]

CHUNK = 1 << 17
"""Bytes read at once, and characters of short documents that are tokenised together."""
COMPRESSED = 1 << 12
"""Bytes unpacked at once: a few can become many."""
LONGEST_PENDING = 1 << 20
"""Characters that may wait for a border; after that they are cut where they stand."""

T = TypeVar("T", str, bytes)


class Stretch(NamedTuple):
    """Texts that follow each other, each a document, the first and the last perhaps a part of one.

    Args:
        texts: none of them empty.
        begins: the first begins a document, rather than goes on with one.
        ends: the last ends a document.
    """

    texts: list[Text]
    begins: bool
    ends: bool


def read_job(
    job: Sequence[Segment], sources: Sequence[Source], tokenizer: type[Tokenizer], left_out: list[str] | None = None
) -> Iterator[Stretch]:
    """Read a job: the same stretches every time.

    Args:
        tokenizer: the class for which it is read: bytes for bytes, and words and pairs are not cut.
        left_out: gets the name of the source for each row without a text.
    Raises: CorpusError with file and place for what is damaged, or not text.
    """
    raw = tokenizer.kind == "byte"
    for segment in job:
        source = sources[segment.source]
        if source.format == "text":
            yield from _read_text(source, segment, tokenizer)
            continue
        if source.format == "jsonl":
            offset = 0 if source.packing else segment.start
            rows = json_rows(_chunks(source, segment), source, offset)
        elif source.format == "parquet":
            rows = parquet_rows(source, segment.start, segment.stop)
        else:
            rows = dataset_rows(source, segment.start, segment.stop)
        yield from _together(rows, source, raw, left_out)


def clip(stretches: Iterable[Stretch], skip: int, stop: int | None) -> Iterator[Stretch]:
    """Yield what lies between two positions, counted in symbols: characters, or bytes.

    What begins in the middle of a document is read as if it began one.
    """
    position = 0
    for texts, begins, ends in stretches:
        size = sum(map(len, texts))
        if position >= skip and (stop is None or position + size <= stop):
            yield Stretch(texts, begins, ends)
        elif position + size > skip and (stop is None or position < stop):
            yield from _clip(texts, begins, ends, skip - position, size if stop is None else stop - position)
        position += size
        if stop is not None and position >= stop:
            return


def _clip(texts: list[Text], begins: bool, ends: bool, skip: int, stop: int) -> Iterator[Stretch]:
    kept, at, last = list[Text](), 0, False
    for number, text in enumerate(texts):
        part = text[max(0, skip - at) : max(0, stop - at)]
        if part:
            if not kept:
                begins = begins or number > 0 or skip > at
            kept.append(part)
            last = at + len(text) <= stop and (number < len(texts) - 1 or ends)
        at += len(text)
    if kept:
        yield Stretch(kept, begins, last)


def _read_text(source: Source, segment: Segment, tokenizer: type[Tokenizer]) -> Iterator[Stretch]:
    """Read a document, or a segment of one, cut where tokens end."""
    begins, whole = segment.start == 0, segment.stop in (-1, source.size)
    chunks = _chunks(source, segment)
    texts: Iterator[Any] = (
        _whole_characters(chunks) if tokenizer.kind == "byte" else _decoded(chunks, source, segment.start)
    )
    held: Text | None = None
    for piece in _cut(texts, tokenizer):
        if held is not None:
            yield Stretch([held], begins, False)
            begins = False
        held = piece
    if held is not None:
        yield Stretch([held], begins, whole)


def _cut(chunks: Iterator[T], tokenizer: type[Tokenizer]) -> Iterator[T]:
    waiting: T | None = None
    for chunk in chunks:
        whole = chunk if waiting is None else waiting + chunk
        border = tokenizer.border(whole)
        if len(whole) - border > LONGEST_PENDING:
            border = len(whole)
        if border:
            yield whole[:border]
        waiting = whole[border:]
    if waiting:
        yield waiting


def _whole_characters(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Move the bytes of a character that is cut to the chunk that has its end."""
    waiting = b""
    for chunk in chunks:
        whole, waiting = waiting + chunk, b""
        lead = next((n for n in range(1, 4) if whole[-n:][:1] >= b"\xc0"), 0)
        if 0 < lead < len(whole):
            whole, waiting = whole[:-lead], whole[-lead:]
        yield whole
    if waiting:
        yield waiting


def _decoded(chunks: Iterator[bytes], source: Source, offset: int) -> Iterator[str]:
    """Decode UTF-8 strictly. Raises: CorpusError with the place of the first byte that is no text."""
    waiting = b""
    for chunk in chunks:
        if offset == 0 and not waiting and chunk.startswith(GZIP):
            raise compressed(source.name, "recurra prepare FILE.gz")
        data = waiting + chunk if waiting else chunk
        text, used = _decode(data, source, offset, final=False)
        waiting, offset = data[used:], offset + used
        if text:
            yield text
    if waiting:
        _decode(waiting, source, offset, final=True)


def _decode(data: bytes, source: Source, offset: int, *, final: bool) -> tuple[str, int]:
    zero = data.find(b"\0")
    if zero >= 0:
        raise not_text(source.name, 0, offset + zero)
    try:
        return data.decode(), len(data)
    except UnicodeDecodeError as error:
        if final or error.reason != "unexpected end of data":
            raise not_text(source.name, data[error.start], offset + error.start) from None
        return data[: error.start].decode(), error.start


def _together(rows: Iterable[Text | None], source: Source, raw: bool, left_out: list[str] | None) -> Iterator[Stretch]:
    """Put short documents together."""
    texts, size = list[Text](), 0
    for row in rows:
        if not row:
            if left_out is not None:
                left_out.append(source.name)
            continue
        texts.append(row.encode() if raw and isinstance(row, str) else row)
        size += len(row)
        if size >= CHUNK:
            yield Stretch(texts, True, True)
            texts, size = [], 0
    if texts:
        yield Stretch(texts, True, True)


def _chunks(source: Source, segment: Segment) -> Iterator[bytes]:
    """Yield the bytes of a segment, unpacked. Raises: CorpusError if the file is damaged or has become shorter."""
    path = Path(source.name)
    with reading(path), _unpacking(path):
        if source.packing == "gz":
            with gzip.open(path) as unpacked:
                yield from iter(lambda: unpacked.read(CHUNK), b"")
        elif source.packing == "zst":
            yield from _zstandard(path)
        else:
            yield from _plain(path, segment)


@contextmanager
def _unpacking(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(f"{path} is damaged: {error}; copy or pack it again") from None


def _plain(path: Path, segment: Segment) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(segment.start)
        left = segment.stop - segment.start
        while left:
            chunk = file.read(min(CHUNK, left))
            if not chunk:
                raise CorpusError(f"{path} has become shorter while it was read; prepare it again")
            left -= len(chunk)
            yield chunk


def _zstandard(path: Path) -> Iterator[bytes]:
    """Unpack frame after frame, and put what comes of a few bytes together."""
    zstandard = need("zstandard")
    unpacked, frame, size = list[bytes](), None, 0
    try:
        with path.open("rb") as file:
            for piece in iter(lambda: file.read(COMPRESSED), b""):
                while piece:
                    frame = frame or zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
                    unpacked.append(frame.decompress(piece))
                    size += len(unpacked[-1])
                    piece, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
                    if size >= CHUNK:
                        yield b"".join(unpacked)
                        unpacked, size = [], 0
    except zstandard.ZstdError as error:
        raise CorpusError(f"{path} is damaged: {error}; copy or pack it again") from None
    if frame is not None:
        raise CorpusError(f"{path} is damaged: it ends within a frame; copy or pack it again")
    if size:
        yield b"".join(unpacked)
