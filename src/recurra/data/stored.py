"""A prepared store that runs refer to, rather than copy."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from recurra.data.store_index import INDEX, read_index
from recurra.errors import CorpusError

__all__ = ["Store", "is_store", "token_counts"]

PARTS = ("train", "valid")


@dataclass(frozen=True)
class Store:
    """Where a store is, and what it holds.

    Args:
        path: absolute.
        sha256: of its vocabulary and its indexes, which have the digests of all else.
        train_tokens, valid_tokens: length of its parts.
    """

    path: str
    sha256: str
    train_tokens: int
    valid_tokens: int

    @classmethod
    def of(cls, path: Path, tokens: tuple[int, int]) -> Self:
        """Describe a store that is there."""
        return cls(str(path.resolve()), _digest(path), *tokens)

    @classmethod
    def from_mapping(cls, values: Any, where: Path) -> Self:
        """Read what `as_mapping` gave. Raises: CorpusError if it is something else."""
        kinds = {"path": str, "sha256": str, "train_tokens": int, "valid_tokens": int}
        if isinstance(values, dict) and {name: type(value) for name, value in values.items()} == kinds:
            store = cls(**values)
            if "\0" not in store.path:
                return store
        raise CorpusError(f"the corpus {where} is damaged: corpus.json does not say which store it is; train again")

    def as_mapping(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)

    def check(self) -> Path:
        """Return the path. Raises: CorpusError if the store is gone, or another one."""
        path = Path(self.path)
        if not path.is_dir():
            raise CorpusError(f"the store {path} that this run was trained on is gone; put it back there")
        if _digest(path) != self.sha256:
            raise CorpusError(
                f"the store {path} has changed since this run was trained on it; put the old one back, or train again"
            )
        return path


def is_store(source: str) -> bool:
    """Tell whether a folder is a prepared store, or a corpus that was saved."""
    path = Path(source)
    return "\0" not in source and (path / "corpus.json").is_file() and (path / "train" / INDEX).is_file()


def token_counts(folder: Path) -> tuple[int, int]:
    """Return the length of both parts of a saved corpus; the store that one refers to need not be there.

    Raises: CorpusError if it is damaged.
    """
    try:
        about = json.loads((folder / "corpus.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        raise CorpusError(f"the corpus {folder} is damaged: corpus.json; make it again from its text") from None
    if isinstance(about, dict) and "store" in about:
        store = Store.from_mapping(about["store"], folder)
        return store.train_tokens, store.valid_tokens
    train, valid = (read_index(folder / part).tokens for part in PARTS)
    return train, valid


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for name in ("tokenizer.json", *(os.path.join(part, INDEX) for part in PARTS)):
        try:
            digest.update((path / name).read_bytes())
        except OSError as error:
            raise CorpusError(f"the store {path} is damaged: {name}: {error.strerror}; prepare it again") from None
    return digest.hexdigest()
