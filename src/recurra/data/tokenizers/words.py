"""One token per word, and one per line end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.normalizers import Replace
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import Split

from recurra.data.tokenizers.base import END_OF_LINE, END_OF_TEXT, UNKNOWN, Ids, Tokenizer

__all__ = ["WordTokenizer", "words_of"]

BYTE_ORDER_MARK = "\ufeff"


class _Known(dict[str, int]):
    """Ids by word; a word that has none is noted, and gives -1."""

    absent: list[str]

    def __missing__(self, word: str) -> int:
        self.absent.append(word)
        return -1


class WordTokenizer(Tokenizer):
    """Text split at white space; a line end of any system is one ``<eos>``, a literal ``<unk>`` the unknown token.

    Decoded text has one space after each word, so it is the original up to runs of white space. A byte order mark
    at the very beginning is no part of a word.
    """

    kind = "word"
    unit = "words"

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._known = _Known(self.ids)

    @classmethod
    def build(
        cls,
        texts: Sequence[str],
        *,
        valid: Sequence[str] = (),
        vocab: int | None = None,
        end: bool = False,
        unknown: bool = False,
    ) -> WordTokenizer:
        """Make the vocabulary from `texts`.

        Args:
            valid: if it holds unseen words and nothing else makes an ``<unk>``, words that `texts` have once become
                the unknown token, so that it is learned.
            vocab: keep the most frequent words, specials included in the number.
            unknown: do the same whatever `valid` holds, as long as any word comes twice.
        """
        counts = Counter(word for text in texts for word in words_of(text))
        words = (word for text in valid for word in words_of(text))
        return cls.from_counts(counts, words, vocab=vocab, end=end, unknown=unknown)

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int],
        words_valid: Iterable[str],
        *,
        vocab: int | None = None,
        end: bool = False,
        unknown: bool = False,
    ) -> WordTokenizer:
        """Make the vocabulary from how often each word comes in the training part, and the validation part's words."""
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        has_unknown = UNKNOWN in counts
        added = (end and END_OF_TEXT not in counts) + (unknown and not has_unknown)
        if vocab is not None and len(ranked) + added > vocab:
            kept = {word for word in (END_OF_LINE, UNKNOWN, END_OF_TEXT) if word in counts}
            special = len(kept | {UNKNOWN} | ({END_OF_TEXT} if end else set()))
            kept.update([word for word in ranked if word not in kept][: max(0, vocab - special)])
            ranked, has_unknown = [word for word in ranked if word in kept], True
        elif not has_unknown and (unknown or any(word not in counts for word in words_valid)):
            specials = (END_OF_LINE, END_OF_TEXT)
            known = [word for word in ranked if counts[word] > 1 or word in specials] if vocab is None else ranked
            ranked = known if known or not unknown else ranked
            has_unknown = True
        wanted = [UNKNOWN] * has_unknown + [END_OF_TEXT] * end
        return cls(cls.make_backend([*ranked, *(name for name in wanted if name not in ranked)]))

    @staticmethod
    def make_backend(names: Sequence[str]) -> Backend:
        """Line ends spelled out, then a split at what Python calls white space."""
        backend = Backend(WordLevel({name: i for i, name in enumerate(names)}, unk_token=UNKNOWN))
        line_end = Replace(Regex(r"\r\n|\r|\n"), f" {END_OF_LINE} ")
        backend.normalizer = Normalizers([Replace(Regex(r"\A\x{FEFF}"), ""), line_end])
        backend.pre_tokenizer = Split(Regex(r"[\s\x{1C}-\x{1F}]+"), "removed")
        return backend

    def lookup(self, text: str | bytes) -> Ids:
        """Return one id per word or line end, -1 where it is unseen."""
        words = words_of(text)
        return np.fromiter(map(self.ids.get, words, repeat(-1)), np.int32, len(words))

    def lookup_all(
        self, texts: Sequence[str] | Sequence[bytes], missing: Counter[str] | None = None
    ) -> tuple[Ids, NDArray[np.int64]]:
        """Return the same as for any tokenizer, each text split once."""
        known, found = self._known, list[Ids]()
        known.absent = []
        for text in texts:
            words = words_of(text)
            found.append(np.fromiter(map(known.__getitem__, words), np.int32, len(words)))
        if missing is not None:
            missing.update(known.absent)
        return np.concatenate(found), np.fromiter(map(len, found), np.int64, len(found))

    def unseen(self, text: str | bytes) -> Counter[str]:
        """Count the words outside the vocabulary."""
        return Counter(word for word in words_of(text) if word not in self.ids)

    @classmethod
    def border(cls, text: str | bytes) -> int:
        """Return the place after the last white space; not between the two halves of a line end."""
        string = text.decode() if isinstance(text, bytes) else text
        if not string or string[-1].isspace():
            return len(string) - string.endswith("\r")
        words = string.rsplit(None, 1)
        return len(string) - len(words[-1])

    @classmethod
    def sequel(cls, text: str) -> str:
        """Keep a byte order mark that does not begin the whole text: it belongs to a word."""
        return f" {text}" if text.startswith(BYTE_ORDER_MARK) else text

    def _piece(self, name: str) -> bytes:
        return b"\n" if name == END_OF_LINE else name.encode() + b" "


def words_of(text: str | bytes) -> list[str]:
    """Return the words of a text, `END_OF_LINE` for each line end."""
    string = text.decode() if isinstance(text, bytes) else text
    string = string.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n").replace("\r", "\n")
    return string.replace("\n", f" {END_OF_LINE} ").split()
