"""A task to shards on disk: what is there whole is kept, what is not is made again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.data.preparing.encoding import Encoded, Encoder
from recurra.data.preparing.reading import Stretch
from recurra.files import write_synced

__all__ = ["Finished", "finished_shards", "write_file", "write_shards"]


class Finished(NamedTuple):
    """A shard that is whole.

    Args:
        file: its name.
        tokens, sha256: how many, and the digest of the file.
        documents: how many start in it; where they do stands in a file beside its record.
        num_chars: characters that its tokens stand for.
        stretches: of the task that were read when it ended.
        unseen: symbols outside the vocabulary: how many, of how many, and which.
        last: nothing of the task comes after it.
    """

    file: str
    tokens: int
    sha256: str
    documents: int
    num_chars: int | None
    stretches: int
    unseen: list[Any]
    last: bool


def finished_shards(records: Path, shards: Path, task: int, itemsize: int) -> list[Finished]:
    """Return the shards of a task that are whole, from its first, as their records say."""
    found = list[Finished]()
    while not (found and found[-1].last):
        record = records / f"{_name(task, len(found))}.json"
        try:
            shard = Finished(**json.loads(record.read_bytes()))
        except (OSError, ValueError, TypeError):
            break
        file = shards / shard.file
        if not (file.is_file() and file.stat().st_size == shard.tokens * itemsize):
            break
        found.append(shard)
    return found


def write_shards(
    stretches: Iterable[Stretch], encoder: Encoder, *, records: Path, shards: Path, task: int, shard_tokens: int
) -> Iterator[int]:
    """Write the shards of a task that are not there yet, yielding symbols on the way.

    A record is written when its shard is safely on the disk, and never before.
    """
    done = finished_shards(records, shards, task, encoder.dtype.itemsize)
    if done and done[-1].last:
        return
    skip = done[-1].stretches if done else 0
    shard, number = None, skip
    try:
        for position, stretch in enumerate(stretches):
            if position >= skip:
                shard = shard or _Shard(encoder, records, shards, _name(task, len(done)))
                shard.add(encoder.encode(stretch))
                number = position + 1
                if shard.tokens >= shard_tokens:
                    done.append(shard.finish(number, last=False))
                    shard = None
            yield sum(map(len, stretch.texts))
        if shard is not None or not done:
            shard = shard or _Shard(encoder, records, shards, _name(task, len(done)))
            done.append(shard.finish(number, last=True))
        else:
            _write_record(records, _name(task, len(done) - 1), done[-1]._replace(last=True))
    finally:
        if shard is not None:
            shard.file.close()


class _Shard:
    """A shard that is being written, under another name until it is whole."""

    def __init__(self, encoder: Encoder, records: Path, shards: Path, name: str) -> None:
        self.encoder, self.records, self.shards, self.name = encoder, records, shards, name
        self.tokens, self.documents, self.num_chars = 0, 0, 0
        self.is_text = True
        self.starts = list[NDArray[np.int64]]()
        self.digest = hashlib.sha256()
        # Several processes never write one shard, unless one of them was left over from an interrupted command.
        self.scratch = shards / f"{name}.bin.{os.getpid()}.tmp"
        self.file = self.scratch.open("wb")

    def add(self, encoded: Encoded) -> None:
        """Append tokens."""
        data = encoded.ids.data
        self.file.write(data)
        self.digest.update(data)
        if len(encoded.starts):
            self.starts.append(encoded.starts + self.tokens)
        self.tokens += len(encoded.ids)
        self.documents += len(encoded.starts)
        self.is_text = self.is_text and encoded.num_chars is not None
        self.num_chars += encoded.num_chars or 0

    def finish(self, stretches: int, *, last: bool) -> Finished:
        """Put the shard in its place, then its record."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        file = f"{self.name}.bin"
        os.replace(self.scratch, self.shards / file)
        starts = np.concatenate(self.starts) if self.starts else np.zeros(0, np.int64)
        write_file(self.records / f"{self.name}.starts", starts.astype("<i8").tobytes())
        unseen = self.encoder.unseen
        finished = Finished(
            file, self.tokens, self.digest.hexdigest(), self.documents, self.num_chars if self.is_text else None,
            stretches, [unseen.missing, unseen.total, dict(unseen.counts)], last,
        )  # fmt: skip
        self.encoder.restart()
        _write_record(self.records, self.name, finished)
        return finished


def _write_record(records: Path, name: str, finished: Finished) -> None:
    write_file(records / f"{name}.json", json.dumps(finished._asdict()).encode())


def write_file(path: Path, data: bytes) -> None:
    """Write a file under another name, force it to the disk, and rename it."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    write_synced(scratch, [data])
    os.replace(scratch, path)


def _name(task: int, number: int) -> str:
    return f"{task:05d}-{number:05d}"
