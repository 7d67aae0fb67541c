"""Tokens made of bytes: all 256 of them, alone or merged into frequent pairs."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from recurra.data.text import check_unicode
from recurra.data.tokenizers.base import END_OF_TEXT, Ids, Tokenizer
from recurra.errors import ConfigError

__all__ = ["BpeTokenizer", "ByteTokenizer"]

DEFAULT_VOCAB = 2048
CHUNK = 1 << 20
"""Characters looked at together; bounds memory, changes no token."""
NEAR = 1 << 12
"""Characters at the end of a text in which a border is looked for first."""
MOST_KNOWN = 1 << 17
"""Pieces whose tokens are remembered from one text to the next, about."""

# White space as the library's own pattern knows it; Python's \s has four control characters more.
_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_PIECE = re.compile(rf"[{_SPACE}]*[^{_SPACE}]+|[{_SPACE}]+")
_PIECE_END = re.compile(rf"(?<=[^{_SPACE}])(?=[{_SPACE}])")


def _letters() -> list[str]:
    """Return the printable letter that stands for each byte in byte-level files (as GPT-2 introduced them)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


LETTERS = _letters()
BYTE_OF = {letter: byte for byte, letter in enumerate(LETTERS)}


class ByteTokenizer(Tokenizer):
    """The 256 bytes, each its own id; a text never passes through str."""

    kind = "byte"
    unit = "bytes"
    can_miss = False

    @classmethod
    def build(cls, *, end: bool = False) -> ByteTokenizer:
        """Make the vocabulary, which no text can change."""
        return cls(cls.make_backend(LETTERS + [END_OF_TEXT] * end))

    @staticmethod
    def make_backend(names: Sequence[str]) -> Backend:
        """Byte-pair encoding without a single pair."""
        backend = Backend(BPE({name: i for i, name in enumerate(names)}, []))
        backend.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
        backend.decoder = ByteLevelDecoder()
        return backend

    def lookup(self, text: str | bytes) -> Ids:
        """Return the bytes; those of a str are its UTF-8."""
        data = text if isinstance(text, bytes) else check_unicode(text, "the text").encode()
        return np.frombuffer(data, np.uint8).astype(np.int32)

    def lookup_all(
        self, texts: Sequence[str] | Sequence[bytes], missing: Counter[str] | None = None
    ) -> tuple[Ids, NDArray[np.int64]]:
        """Return the same as for any tokenizer, looked up at once."""
        data = [text if isinstance(text, bytes) else check_unicode(text, "the text").encode() for text in texts]
        return self.lookup(b"".join(data)), np.fromiter(map(len, data), np.int64, len(data))

    def _piece(self, name: str) -> bytes:
        return _bytes_of(name)


class _Known(dict[str, int]):
    """Pieces by number, encoded when they are first asked for: the ids of all of them one after the other."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        self.forget()

    def __missing__(self, piece: str) -> int:
        ids = self.backend.encode(piece).ids
        self.begins.append(len(self.ids))
        self.lengths.append(len(ids))
        self.ids.extend(ids)
        self[piece] = number = len(self)
        return number

    def forget(self) -> None:
        """Begin anew."""
        self.clear()
        self.ids, self.begins, self.lengths = array("i"), array("q"), array("q")

    def encode(self, pieces: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
        """Return the ids of pieces, and how many each has."""
        if not pieces:
            return np.zeros(0, np.int32), np.zeros(0, np.int64)
        numbers = np.fromiter(map(self.__getitem__, pieces), np.int32, len(pieces))
        # Views, which must be gone before any of the arrays grows again.
        lengths, begins = np.frombuffer(self.lengths, np.int64)[numbers], np.frombuffer(self.begins, np.int64)[numbers]
        places = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
        places += np.arange(len(places))
        return np.frombuffer(self.ids, np.int32)[places], lengths


class BpeTokenizer(Tokenizer):
    """Byte-pair encoding: bytes, and the pairs of them that the training text has most; lossless for any text."""

    kind = "bpe"
    unit = "bytes"
    can_miss = False

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._known = _Known(backend)

    @classmethod
    def build(cls, texts: Iterable[str], *, vocab: int | None = None, end: bool = False) -> BpeTokenizer:
        """Learn pairs from `texts` until there are `vocab` tokens, specials included, or no pair comes twice."""
        size = (vocab or DEFAULT_VOCAB) - end
        if size < 256:
            raise ConfigError(f"'vocab' of bpe must be at least {256 + end}, to hold every byte, not {vocab}")
        backend = Backend(BPE())
        backend.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
        backend.decoder = ByteLevelDecoder()
        trainer = BpeTrainer(
            vocab_size=size, min_frequency=2, initial_alphabet=ByteLevel.alphabet(), show_progress=False
        )
        backend.train_from_iterator((chunk for text in texts for chunk in _chunks(text)), trainer)
        return cls(_with_end(backend) if end else backend)

    def lookup(self, text: str | bytes) -> Ids:
        """Return the ids; no byte is ever unseen."""
        string = text.decode() if isinstance(text, bytes) else check_unicode(text, "the text")
        known = self._known
        if len(known) > MOST_KNOWN:
            known.forget()
        parts = [known.encode(_PIECE.findall(chunk))[0] for chunk in _chunks(string)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def lookup_all(
        self, texts: Sequence[str] | Sequence[bytes], missing: Counter[str] | None = None
    ) -> tuple[Ids, NDArray[np.int64]]:
        """Return the same as for any tokenizer, short texts together."""
        if sum(map(len, texts)) > CHUNK:
            return super().lookup_all(texts)
        if len(self._known) > MOST_KNOWN:
            self._known.forget()
        strings = [text.decode() if isinstance(text, bytes) else check_unicode(text, "the text") for text in texts]
        pieces, ends = list[str](), list[int]()
        for string in strings:
            pieces += _PIECE.findall(string)
            ends.append(len(pieces))
        ids, lengths = self._known.encode(pieces)
        return ids, np.diff(np.append(0, np.cumsum(lengths))[[0, *ends]])

    @classmethod
    def border(cls, text: str | bytes) -> int:
        """Return the last place before white space that follows something visible, which no token spans."""
        string = text.decode() if isinstance(text, bytes) else text
        for start in (max(0, len(string) - NEAR), 0):
            found = [match.start() for match in _PIECE_END.finditer(string, start)]
            if found:
                return found[-1]
        return 0

    def _piece(self, name: str) -> bytes:
        return _bytes_of(name)


def _bytes_of(name: str) -> bytes:
    return name.encode() if name == END_OF_TEXT else bytes(BYTE_OF[letter] for letter in name)


def _with_end(backend: Backend) -> Backend:
    """Add the end of text to the vocabulary, not as an added token: those would be found inside texts."""
    description = json.loads(backend.to_str())
    vocabulary = description["model"]["vocab"]
    vocabulary.setdefault(END_OF_TEXT, len(vocabulary))
    return Backend.from_str(json.dumps(description))


def _chunks(text: str) -> Iterator[str]:
    """Cut a text before white space that follows something visible, a place that no token spans."""
    start = 0
    while start < len(text):
        cut = _PIECE_END.search(text, start + CHUNK)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end
