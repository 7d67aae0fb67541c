"""Finished shards to the two token stores of a corpus."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recurra.config import as_mapping
from recurra.data.config import DataConfig
from recurra.data.preparing.folder import plan_digest
from recurra.data.preparing.work import PARTS, Work
from recurra.data.preparing.writing import Finished, write_file
from recurra.data.store_index import DOCUMENTS, FORMAT, INDEX, Entry, Index, dtype_for, index_bytes
from recurra.data.tokenizers import Unseen
from recurra.errors import CorpusError
from recurra.files import write_synced

__all__ = ["assemble"]


def assemble(work: Work, folder: Path, notes: list[str], *, torn: bool, given: bool) -> None:
    """Write indexes, boundaries and ``corpus.json``, and remove what an interruption left behind.

    Raises: CorpusError if a part has too few tokens; VocabularyError if most of one is unseen.
    """
    config, vocab = work.plan.config, len(work.tokenizer)
    parts = {
        part: [shard for number in range(len(work.tasks[part][2])) for shard in work.finished(part, number)]
        for part in PARTS
    }
    tokens = [sum(shard.tokens for shard in parts[part]) for part in PARTS]
    if given:
        notes = notes + _unseen(work, parts["train"], "the training part")
    if tokens[0] < 2 or tokens[1] == 1:
        raise CorpusError(
            f"these files give {tokens[0]} + {tokens[1]} tokens to train and to validate with; each part needs at "
            f"least 2: give a longer text"
        )
    notes = notes + _unseen(work, parts["valid"], "the validation part")
    documents = sum(_write_index(work, part, parts[part], closed=work.tasks[part][1]) for part in PARTS)
    first = work.plan.sources[0][0].name
    data = DataConfig(source=first, tokenizer=config.tokenizer, vocab=config.vocab, valid=config.valid)
    about = {
        "version": FORMAT,
        "name": first.rpartition("/")[2].partition(".")[0] or first,
        "config": as_mapping(data),
        "notes": notes,
        "prepared": {
            "plan": plan_digest(work.plan),
            "sources": sum(map(len, work.plan.sources)),
            "vocabulary": vocab,
            "tokens": tokens,
            "documents": documents - torn,
        },
    }
    write_file(folder / "store" / "corpus.json", json.dumps(about, indent=1).encode())


def _write_index(work: Work, part: str, shards: list[Finished], *, closed: bool) -> int:
    """Write the boundaries and the index of a part, and return how many documents it has."""
    folder, kept = work.store / part, [shard for shard in shards if shard.tokens]
    names = {shard.file for shard in kept}
    for file in folder.iterdir():
        if file.name not in names:
            file.unlink()
    count = 0

    def starts() -> Iterator[Any]:
        """Yield positions; the first is 0, whether a document begins there or goes on."""
        nonlocal count
        at, first = 0, True
        for shard in shards:
            found = np.fromfile(work.folder / part / f"{shard.file.removesuffix('.bin')}.starts", "<i8") + at
            if first and not (len(found) and found[0] == 0):
                found = np.append(np.zeros(1, "<i8"), found)
            first = False
            count += len(found)
            at += shard.tokens
            yield found.data

    zero = np.zeros(1, "<i8")
    sha256 = write_synced(folder / DOCUMENTS, starts() if closed and shards else [zero.data])
    chars = [shard.num_chars for shard in shards]
    index = Index(
        dtype_for(len(work.tokenizer)),
        [Entry(shard.file, shard.tokens, shard.sha256) for shard in kept],
        Entry(DOCUMENTS, max(count, 1), sha256),
        None if None in chars else sum(number for number in chars if number is not None),
        False,
    )
    write_synced(folder / INDEX, [index_bytes(index)])
    return index.documents.tokens if index.tokens else 0  # type: ignore[union-attr]


def _unseen(work: Work, shards: list[Finished], where: str) -> list[str]:
    """Return the line about what is outside the vocabulary, if there is any."""
    total = Unseen(work.tokenizer)
    for shard in shards:
        missing, symbols, counts = shard.unseen
        total.missing, total.total = total.missing + missing, total.total + symbols
        total.counts.update(Counter(counts))
    line = total.line(where)
    return [line] if line else []
