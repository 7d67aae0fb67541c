"""What every tokenizer can do: text to ids and back, its special tokens, its file."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend

from recurra.data.tokenizers.growing import new_names
from recurra.data.tokenizers.labels import label_of
from recurra.errors import ConfigError, VocabularyError

__all__ = ["END_OF_LINE", "END_OF_TEXT", "UNKNOWN", "Ids", "Tokenizer", "Unseen", "check_seen"]

Ids = NDArray[np.int32]

UNKNOWN = "<unk>"
END_OF_TEXT = "<eot>"
END_OF_LINE = "<eos>"


class Tokenizer(ABC):
    """Text to ids and back, over a fixed vocabulary.

    Ids are ordered by how often the training text has them, the most frequent first; ``byte`` and ``bpe`` excepted, and
    what was appended by `grown`.

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
        labels = [label_of(name) for name in self.names]
        self.labels: dict[str, int] = {label: i for i, label in enumerate(labels) if label is not None}
        self._pieces = [
            self._piece(name) if label is None else b"" for name, label in zip(self.names, labels, strict=True)
        ]

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

    def lookup_all(
        self, texts: Sequence[str] | Sequence[bytes], missing: Counter[str] | None = None
    ) -> tuple[Ids, NDArray[np.int64]]:
        """Return what `lookup` gives for each text, one after the other, and how many ids each has.

        Args:
            missing: gets how often each symbol outside the vocabulary comes.
        """
        each: Sequence[Any] = texts
        found = [self.lookup(text) for text in each]
        if missing is not None and self.can_miss:
            for text, ids in zip(each, found, strict=True):
                if (ids < 0).any():
                    missing.update(self.unseen(text))
        return np.concatenate(found), np.fromiter(map(len, found), np.int64, len(found))

    def unseen(self, text: str | bytes) -> Counter[str]:
        """Count the symbols of a text that are outside the vocabulary."""
        return Counter()

    @classmethod
    def border(cls, text: str | bytes) -> int:
        """Return the last place where a text may be cut whatever follows it, 0 if there is none.

        The ids of both parts, one after the other, are those of the whole, if the later one is read as a `sequel`.
        """
        return len(text)

    @classmethod
    def sequel(cls, text: str) -> str:
        """Return a text as it is to be encoded when it goes on from another, rather than begins."""
        return text

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

    def grown(
        self,
        texts: str | Sequence[str],
        *,
        valid: str | Sequence[str] = (),
        vocab: int | None = None,
        end: bool = False,
    ) -> Self:
        """Return a tokenizer that knows the symbols of other texts, too: behind the old ones, whose ids stay.

        Args:
            texts: what it is to learn, the training part of a new corpus.
            valid: its validation part; consulted only for whether an unknown token is needed. Where it holds words
                that nothing else has, words that `texts` have once stay unknown, so that ``<unk>`` is not unlearned.
            vocab: largest number of tokens, the old ones and specials included. Default: without limit.
            end: add an end of text, ``<eot>``, where there is none.
        Returns: itself where nothing is added: bytes miss nothing, and neither do pairs of them.
        Raises: ConfigError for a `vocab` that is too small, or that means nothing to bytes.
        """
        if vocab is not None and not self.can_miss:
            raise ConfigError(
                f"'vocab' has no meaning here: {self.kind} misses nothing and does not grow; leave it out"
            )
        training = [texts] if isinstance(texts, str) else texts
        validation = [valid] if isinstance(valid, str) else valid
        unknown = UNKNOWN if self.can_miss else ""
        added = new_names(self, training, validation, vocab, unknown, END_OF_TEXT if end else "")
        return self._appended(added) if added else self

    def _appended(self, names: Sequence[str]) -> Self:
        """Return the same tokenizer with names behind its own: the vocabulary of its saved form is all that differs."""
        description = json.loads(self.backend.to_str())
        vocabulary = description["model"]["vocab"]
        vocabulary.update((name, len(self) + i) for i, name in enumerate(names))
        if self.can_miss and UNKNOWN in vocabulary:
            description["model"]["unk_token"] = UNKNOWN
        return type(self)(Backend.from_str(json.dumps(description)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON of a Hugging Face tokenizer, replacing the file in one step."""
        target = Path(path)
        scratch = target.with_name(target.name + ".tmp")
        scratch.write_text(self.backend.to_str(pretty=True), encoding="utf-8", newline="\n")
        os.replace(scratch, target)

    def _piece(self, name: str) -> bytes:
        return name.encode()


class Unseen:
    """Counts the symbols of texts that a tokenizer does not have, in memory that does not grow with the texts.

    Args:
        tokenizer: whose vocabulary is asked.
    Attributes:
        missing, total: symbols that are not in the vocabulary, and all.
        counts: how often each of the missing ones came; of many, only the first.
    """

    MOST = 10_000
    """Different symbols that are told apart."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.missing = self.total = 0
        self.counts = Counter[str]()

    def add(self, text: str | bytes, ids: Ids | None = None) -> None:
        """Count those of a text.

        Args:
            ids: what `lookup` gave for it, if that is known.
        """
        if not self.tokenizer.can_miss:
            return
        ids = self.tokenizer.lookup(text) if ids is None else ids
        absent = int(np.count_nonzero(ids < 0))
        self.missing, self.total = self.missing + absent, self.total + len(ids)
        if not absent:
            return
        self.name(self.tokenizer.unseen(text))

    def name(self, found: Counter[str]) -> None:
        """Remember which they were."""
        room = len(self.counts) < self.MOST
        self.counts.update(found if room else {name: found[name] for name in found if name in self.counts})

    def line(self, where: str) -> str | None:
        """Return one line that names up to five of them with their counts, or None where all are known.

        Raises: VocabularyError if they are more than half of all.
        """
        if not self.missing:
            return None
        names = ", ".join(f"{symbol!r} {count:,}" for symbol, count in self.counts.most_common(5))
        others = len(self.counts) - 5
        more = f" and {others:,} others" if others > 0 else ""
        line = f"{self.missing:,} of {self.total:,} {self.tokenizer.unit} in {where} are not in the vocabulary"
        if self.missing * 2 > self.total:
            raise VocabularyError(
                f"{line}: {names}{more}; train on a text of its kind, with a larger vocabulary, or --tokenizer byte"
            )
        fate = "left out" if self.tokenizer.unknown is None else f"read as {UNKNOWN}"
        return f"{line} and are {fate}: {names}{more}"


def check_seen(tokenizer: Tokenizer, texts: str | bytes | Sequence[str | bytes], where: str) -> str | None:
    """Return one line that names up to five unseen symbols with their counts, or None where all are known.

    Args:
        texts: one text or several.
        where: what they are, for the line.
    Raises: VocabularyError if more than half of the symbols are unseen.
    """
    unseen = Unseen(tokenizer)
    for text in [texts] if isinstance(texts, str | bytes) else texts:
        unseen.add(text)
    return unseen.line(where)
