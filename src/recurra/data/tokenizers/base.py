"""What every tokenizer can do: text to ids and back, its special tokens, its file."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend

from recurra.data.tokenizers.labels import label_of
from recurra.errors import VocabularyError

__all__ = ["END_OF_LINE", "END_OF_TEXT", "UNKNOWN", "Ids", "Tokenizer", "check_seen"]

Ids = NDArray[np.int32]

UNKNOWN = "<unk>"
END_OF_TEXT = "<eot>"
END_OF_LINE = "<eos>"


class Tokenizer(ABC):
    """Text to ids and back, over a fixed vocabulary.

    Ids are ordered by how often the training text has them, the most frequent first; ``byte`` and ``bpe`` excepted.

    Args:
        backend: the same vocabulary as a Hugging Face tokenizer; its JSON is what `save` writes.
    Attributes:
        names: every token as it stands in the vocabulary.
        unknown: id that unseen symbols become, ``<unk>``; None if they are left out.
        end: id that ends a document, ``<eot>``; None in a vocabulary of one document.
        labels: ids of what texts are conditioned on, by label; as text they are empty.
    """

    kind: ClassVar[str]
    unit: ClassVar[str]
    """What one symbol is called, in the plural."""
    can_miss: ClassVar[bool] = True
    """Whether a text can hold symbols outside the vocabulary."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.ids: dict[str, int] = dict(sorted(backend.get_vocab(with_added_tokens=False).items(), key=itemgetter(1)))
        self.names = list(self.ids)
        self.unknown = self.ids.get(UNKNOWN) if self.can_miss else None
        self.end = self.ids.get(END_OF_TEXT)
        named = ((label_of(name), i) for name, i in self.ids.items())
        self.labels: dict[str, int] = {label: i for label, i in named if label is not None}
        self._pieces = [b"" if label_of(name) is not None else self._piece(name) for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<{self.kind} tokenizer of {len(self):,} tokens>"

    def encode(self, text: str | bytes) -> Ids:
        """Return the ids of a text; unseen symbols become `unknown`, or are left out where there is none."""
        ids = self.lookup(text)
        unseen = ids < 0
        if not unseen.any():
            return ids
        if self.unknown is None:
            return ids[~unseen]
        ids[unseen] = self.unknown
        return ids

    @abstractmethod
    def lookup(self, text: str | bytes) -> Ids:
        """Return one id per symbol, -1 for each symbol outside the vocabulary."""

    def unseen(self, text: str | bytes) -> Counter[str]:
        """Count the symbols of a text that are outside the vocabulary."""
        return Counter()

    def decode(self, ids: Iterable[int] | Ids) -> str:
        """Return the text of ids; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int] | Ids) -> bytes:
        """Return the UTF-8 bytes of ids, token by token: one character may span several tokens.

        The bytes of two sequences, one after the other, are the bytes of both together, as streaming needs.
        """
        numbers = ids.tolist() if isinstance(ids, np.ndarray) else ids
        return b"".join([self._pieces[i] for i in numbers])

    def symbol(self, token: int) -> str:
        """Return a printable name: spaces are shown as ␣, control characters and stray bytes escaped."""
        label = label_of(self.names[token]) is not None
        shown = self.names[token] if label else self._pieces[token].decode("utf-8", "backslashreplace")
        return "".join(
            "␣" if c == " " and not label else c if c.isprintable() else c.encode("unicode_escape").decode()
            for c in shown
        )

    @property
    def start(self) -> int:
        """Token to generate from without a prompt: the line end, else the end of text, else the most frequent token."""
        newline = next((i for i, piece in enumerate(self._pieces) if piece == b"\n"), None)
        if newline is not None:
            return newline
        return self.end if self.end is not None else next(i for i in range(len(self)) if i != self.unknown)

    @property
    def digest(self) -> str:
        """The sha256 of the saved form, in hexadecimal."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON of a Hugging Face tokenizer, replacing the file in one step."""
        target = Path(path)
        scratch = target.with_name(target.name + ".tmp")
        scratch.write_text(self.backend.to_str(pretty=True), encoding="utf-8", newline="\n")
        os.replace(scratch, target)

    def _piece(self, name: str) -> bytes:
        return name.encode()


def check_seen(tokenizer: Tokenizer, texts: str | bytes | Sequence[str | bytes], where: str) -> str | None:
    """Return one line that names up to five unseen symbols with their counts, or None where all are known.

    Args:
        texts: one text or several.
        where: what they are, for the line.
    Raises: VocabularyError if more than half of the symbols are unseen.
    """
    if not tokenizer.can_miss:
        return None
    unseen, missing, total = Counter[str](), 0, 0
    for text in [texts] if isinstance(texts, str | bytes) else texts:
        ids = tokenizer.lookup(text)
        absent = int(np.count_nonzero(ids < 0))
        missing, total = missing + absent, total + len(ids)
        if absent:
            unseen.update(tokenizer.unseen(text))
    if not missing:
        return None
    names = ", ".join(f"{symbol!r} {count:,}" for symbol, count in unseen.most_common(5))
    more = f" and {len(unseen) - 5:,} others" if len(unseen) > 5 else ""
    line = f"{missing:,} of {total:,} {tokenizer.unit} in {where} are not in the vocabulary"
    if missing * 2 > total:
        raise VocabularyError(
            f"{line}: {names}{more}; train on a text of its kind, with a larger vocabulary, or --tokenizer byte"
        )
    fate = "left out" if tokenizer.unknown is None else f"read as {UNKNOWN}"
    return f"{line} and are {fate}: {names}{more}"
