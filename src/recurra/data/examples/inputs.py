"""What models read, made into numbers: texts, sequences of numbers; sounds and pictures have files of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from recurra.data.examples.batches import Padded, pad
from recurra.data.tokenizers import Tokenizer
from recurra.errors import DataError

__all__ = ["Input", "NumbersInput", "TextInput", "as_text", "lower"]


class Input(ABC):
    """How one kind of input becomes numbers.

    Attributes:
        kind: text, sound, picture or numbers.
    """

    kind: ClassVar[str]

    @abstractmethod
    def encode(self, raw: Any) -> Any:
        """Return an array: tokens (T,) int32, numbers (T, F) float32, or a picture (C, H, W) float32.

        Raises: DataError if it is nothing of this kind, or empty.
        """

    def collate(self, encoded: Sequence[Any]) -> Padded:
        """Put what `encode` gave side by side."""
        return pad(encoded)

    @abstractmethod
    def as_mapping(self) -> dict[str, Any]:
        """Return the settings, as JSON holds them, under their names and ``kind``. A tokenizer is saved beside them."""


class TextInput(Input):
    """Texts, or lists of words, as tokens.

    Args:
        tokenizer: made from the training part, with an unknown token.
        lowercase: read everything in lower case.
    """

    kind = "text"

    def __init__(self, tokenizer: Tokenizer, *, lowercase: bool = False) -> None:
        self.tokenizer = tokenizer
        self.lowercase = lowercase

    def encode(self, raw: Any) -> Any:
        """A text, or a list of words (or of characters, for a tokenizer of those) -> tokens (T,)."""
        ids = self.tokenizer.encode(self.text(raw))
        if not len(ids):
            raise DataError(f"the text {raw!r} is empty")
        return ids

    def text(self, raw: Any) -> str:
        """Return a text, or words or characters put together, as they are read."""
        return as_text(raw, self.tokenizer.kind, self.lowercase)

    def as_mapping(self) -> dict[str, Any]:
        """Kind and settings."""
        return {"kind": self.kind, "lowercase": self.lowercase}


def as_text(raw: Any, tokenizer: str, lowercase: bool) -> str:
    """Return a text, or a list of words or characters put together for a kind of tokenizer.

    Raises: DataError if it is neither.
    """
    if not isinstance(raw, str):
        try:
            raw = ("" if tokenizer == "char" else " ").join(raw)
        except TypeError:
            raise DataError(f"a text is a string or a list of words, not {type(raw).__name__}") from None
    return lower(raw) if lowercase else raw


class NumbersInput(Input):
    """Sequences of numbers: (T,) of one feature or (T, F) of several.

    Args:
        features: F.
    """

    kind = "numbers"

    def __init__(self, features: int = 1) -> None:
        self.features = features

    def encode(self, raw: Any) -> Any:
        """An array (T,) or (T, F) of finite numbers -> (T, F) float32."""
        try:
            values = np.asarray(raw, np.float32)
        except (TypeError, ValueError):
            raise DataError(f"a sequence of numbers holds numbers alone, not {str(raw)[:40]!r}") from None
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or values.shape[1] != self.features or not len(values):
            raise DataError(f"a sequence of numbers is (steps, {self.features}), not {np.shape(raw)}")
        if not np.isfinite(values).all():
            raise DataError(f"step {int(np.argwhere(~np.isfinite(values))[0][0])} of the sequence is not a number")
        return values

    def as_mapping(self) -> dict[str, Any]:
        """Kind and settings."""
        return {"kind": self.kind, "features": self.features}


def lower(text: str) -> str:
    """Return a text in lower case, as many characters as it had: a few that would become two stay as they are."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(small if len(small := character.lower()) == 1 else character for character in text)
