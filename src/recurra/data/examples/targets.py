"""What models are to say: one label, one label for each step, or a text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from recurra.data.examples.batches import pad
from recurra.data.streams import NOTHING
from recurra.data.tokenizers import Tokenizer
from recurra.errors import DataError, nearest

__all__ = ["Labels", "StepLabels", "Target", "TextTarget"]


class Target(ABC):
    """How what is to be said becomes numbers.

    Attributes:
        kind: label, labels or text.
    """

    kind: ClassVar[str]

    @abstractmethod
    def __len__(self) -> int:
        """Number of classes."""

    @abstractmethod
    def encode(self, raw: Any) -> Any:
        """Return a number, or an array of int32. Raises: DataError for what was never seen in training."""

    @abstractmethod
    def collate(self, encoded: Sequence[Any]) -> Tensor:
        """Put what `encode` gave side by side: (B,) or (S, B) int64, -1 past a row's end."""

    @abstractmethod
    def as_mapping(self) -> dict[str, Any]:
        """Return the settings, as JSON holds them, under their names and ``kind``. A tokenizer is saved beside them."""


class Labels(Target):
    """One label for a whole sequence.

    Args:
        names: of the classes, in the order of their numbers.
    """

    kind = "label"

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    @classmethod
    def of(cls, labels: Iterable[str]) -> Labels:
        """Collect the names, sorted."""
        return cls(sorted(set(labels)))

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, label: object) -> bool:
        return label in self._numbers

    def number(self, label: str) -> int:
        """Return the number of a label. Raises: DataError if it is unknown."""
        if label not in self._numbers:
            raise DataError(f"the label '{label}' was never seen in training{nearest(str(label), self.names)}")
        return self._numbers[label]

    def encode(self, raw: Any) -> Any:
        """A label -> its number."""
        return self.number(raw)

    def collate(self, encoded: Sequence[Any]) -> Tensor:
        """Numbers -> (B,)."""
        return torch.tensor(list(encoded), dtype=torch.int64)

    def as_mapping(self) -> dict[str, Any]:
        """Kind and names."""
        return {"kind": self.kind, "names": self.names}


class StepLabels(Labels):
    """One label for each step of a sequence."""

    kind = "labels"

    def encode(self, raw: Any) -> Any:
        """Labels of a sequence -> (T,) int32."""
        return np.array([self.number(label) for label in raw], np.int32)

    def collate(self, encoded: Sequence[Any]) -> Tensor:
        """(T_b,) each -> (T, B)."""
        return pad(encoded, NOTHING).values


class TextTarget(Target):
    """A text, written token by token until its end.

    Args:
        tokenizer: with an end of text, which also starts every text.
    """

    kind = "text"

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.end is None:
            raise DataError("a text to be written needs a tokenizer with an end of text; build it with end=True")
        self.tokenizer = tokenizer
        self.end: int = tokenizer.end

    def __len__(self) -> int:
        return len(self.tokenizer)

    def encode(self, raw: Any) -> Any:
        """A text -> its tokens and the end (S,) int32."""
        return np.append(self.tokenizer.encode(raw), np.int32(self.end))

    def collate(self, encoded: Sequence[Any]) -> Tensor:
        """(S_b,) each -> (S, B)."""
        return pad(encoded, NOTHING).values

    def as_mapping(self) -> dict[str, Any]:
        """The kind."""
        return {"kind": self.kind}

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of tokens up to the first end, without space around it."""
        kept = []
        for token in ids:
            if token == self.end:
                break
            kept.append(int(token))
        return self.tokenizer.decode(kept).strip()
