"""Text to tokens and back: by character, byte, word or byte pair. Every kind is saved as Hugging Face JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from recurra.config import check_choice
from recurra.data.tokenizers.base import END_OF_LINE, END_OF_TEXT, UNKNOWN, Tokenizer, Unseen, check_seen
from recurra.data.tokenizers.byte_level import BpeTokenizer, ByteTokenizer
from recurra.data.tokenizers.characters import CharTokenizer
from recurra.data.tokenizers.labels import nearest_label, with_labels
from recurra.data.tokenizers.words import WordTokenizer
from recurra.errors import ConfigError, VocabularyError

__all__ = [
    "END_OF_LINE",
    "END_OF_TEXT",
    "KINDS",
    "UNKNOWN",
    "BpeTokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "Tokenizer",
    "Unseen",
    "WordTokenizer",
    "build_tokenizer",
    "check_seen",
    "load_tokenizer",
    "nearest_label",
    "with_labels",
]

KINDS: dict[str, type[Tokenizer]] = {
    cls.kind: cls for cls in (CharTokenizer, ByteTokenizer, WordTokenizer, BpeTokenizer)
}


def build_tokenizer(
    kind: str,
    texts: str | Sequence[str],
    *,
    valid: str | Sequence[str] = (),
    vocab: int | None = None,
    end: bool = False,
    unknown: bool = False,
) -> Tokenizer:
    """Make a tokenizer whose vocabulary is that of the training texts.

    Args:
        kind: char, byte, word or bpe.
        texts: the training part, one document or several.
        valid: the validation part; consulted only for whether an unknown token is needed.
        vocab: largest number of tokens, specials included; 2048 for bpe by default, without limit for char and word.
        end: give the vocabulary an end of text, ``<eot>``.
        unknown: give it an unknown token, ``<unk>``, whatever `valid` holds; no matter to byte and bpe, which miss
            nothing.
    Raises: ConfigError for an unknown kind, or a `vocab` that it cannot have.
    """
    check_choice(KINDS, tokenizer=kind)
    training = [texts] if isinstance(texts, str) else texts
    validation = [valid] if isinstance(valid, str) else valid
    if kind == "char":
        return CharTokenizer.build(training, valid=validation, vocab=vocab, end=end, unknown=unknown)
    if kind == "word":
        return WordTokenizer.build(training, valid=validation, vocab=vocab, end=end, unknown=unknown)
    if kind == "bpe":
        return BpeTokenizer.build(training, vocab=vocab, end=end)
    if vocab is not None:
        raise ConfigError(f"'vocab' has no meaning for the 256 bytes; leave out {vocab}, or take --tokenizer bpe")
    return ByteTokenizer.build(end=end)


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Read a file written by `Tokenizer.save`; its kind is seen from what it describes.

    Raises: VocabularyError if the file is missing, damaged, or describes another kind of tokenizer.
    """
    where = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
        description = json.loads(text)
    except OSError as error:
        raise VocabularyError(f"cannot read the tokenizer {where}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise VocabularyError(f"{where} is damaged: not JSON; copy it again, or train again") from None
    kind = _kind_of(description)
    if kind is None:
        raise VocabularyError(
            f"{where} does not describe a tokenizer of {', '.join(KINDS)}; use one that was saved here"
        )
    try:
        return KINDS[kind](Backend.from_str(text))
    except Exception as error:  # the library raises nothing more precise
        raise VocabularyError(f"{where} is damaged: {str(error).splitlines()[0]}") from None


def _kind_of(description: Any) -> str | None:
    """Recognise a kind by its model and by how it cuts a text; None for a vocabulary that is not whole."""
    try:
        model, cut = description["model"], description["pre_tokenizer"] or {}
        if sorted(model["vocab"].values()) != list(range(len(model["vocab"]))) or not model["vocab"]:
            return None
        if description["added_tokens"]:
            return None
        if model["type"] == "WordLevel":
            return "word" if cut["type"] == "Split" else None
        if model["type"] != "BPE" or cut.get("type") not in (None, "ByteLevel"):
            return None
        if cut:
            return "bpe" if cut["use_regex"] else "byte"
        return "char" if not model["merges"] else None
    except (KeyError, TypeError, AttributeError):
        return None
