"""Arrays of token ids on disk: a folder with an index, shards that are mapped when they are read, and boundaries."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.data.shards import Shards
from recurra.data.store_index import FORMAT, Index, Part, dtype_for, map_documents, map_shard, read_index, write_part
from recurra.errors import CorpusError
from recurra.files import new_folder

__all__ = ["FORMAT", "Tokens"]

Positions = NDArray[np.int64]


class Tokens:
    """A one-dimensional array of token ids that the operating system reads as it is used.

    ``tokens[a:b]`` and ``tokens.take(positions)`` read what they name and nothing else, across shards.

    Args:
        ids: (N,) unsigned integers, memory-mapped or not, or several such arrays as `Shards`.
        documents: ascending positions at which documents start, the first of them 0. Each but the last document
            ends with an end of text.
        num_chars: characters that the tokens stand for, if known.
        labelled: each document begins with its label, which is read but never predicted.
    """

    def __init__(
        self,
        ids: NDArray[Any] | Shards,
        documents: Sequence[int] | NDArray[np.int64] = (0,),
        num_chars: int | None = None,
        labelled: bool = False,
    ) -> None:
        self.shards = ids if isinstance(ids, Shards) else Shards.of(np.asanyarray(ids))
        self.documents: Positions = np.asanyarray(documents, np.int64)
        self.num_chars = num_chars
        self.labelled = labelled

    def __len__(self) -> int:
        return len(self.shards)

    def __repr__(self) -> str:
        return f"<{len(self):,} tokens, {len(self.documents)} documents>"

    def __getitem__(self, stretch: slice) -> NDArray[Any]:
        """Return the ids of a stretch ``a:b``: a view where it lies in one shard."""
        start, stop, step = stretch.indices(len(self))
        return self.shards.stretch(start, max(start, stop))[::step]

    def take(self, positions: NDArray[Any]) -> Positions:
        """Return the ids at positions, of any shape, as int64; each shard is touched only where one lies."""
        return self.shards.take(positions)

    @property
    def ids(self) -> NDArray[Any]:
        """All of them, (N,): as they are mapped, but of several shards a copy in memory."""
        return self.shards.stretch(0, len(self))

    @property
    def starts(self) -> Positions:
        """Positions of the tokens before which all is forgotten, the first of them 0.

        A document ends with its end of text, which as an input begins the next one, unless that has a label to begin.
        """
        later = self.documents[self.documents > 0]
        return np.concatenate([[0], later if self.labelled else later - 1])

    def begins(self, positions: Positions) -> NDArray[np.bool_]:
        """Tell which positions are among `starts`, looking at few of them."""
        first = np.equal(positions, 0)
        if len(self.documents) == 1:
            return first
        wanted = positions if self.labelled else positions + 1
        place = np.minimum(np.searchsorted(self.documents, wanted), len(self.documents) - 1)
        return first | np.equal(self.documents[place], wanted)

    def head(self, count: int) -> Tokens:
        """Return the first tokens, at most so many."""
        return Tokens(self[:count], self.documents[self.documents < count], labelled=self.labelled)

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
        dtype = dtype_for(vocab)
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
        with new_folder(folder, CorpusError) as scratch:
            self.write(scratch)

    def write(self, folder: Path) -> None:
        """Write shards, boundaries and index into a folder that exists, without ceremony."""
        write_part(folder, Part(self.shards, self.documents, self.num_chars, self.labelled))

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, verify: bool = False) -> Tokens:
        """Map a store into memory; nothing is read until it is used, unless digests are to be verified.

        Raises: CorpusError if it is missing, damaged, truncated or of a newer version.
        """
        path = Path(folder)
        index: Index = read_index(path)

        def shard(number: int) -> NDArray[Any]:
            return map_shard(path, index, number, verify=False)

        shards = Shards([entry.tokens for entry in index.shards], index.dtype, shard)
        if verify:
            for number in range(len(index.shards)):
                map_shard(path, index, number, verify=True)
        return cls(shards, map_documents(path, index, verify=verify), index.num_chars, index.labelled)
