"""Examples as they were read: inputs, what is to be said about each, and where each came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from recurra.errors import DataError

__all__ = ["Examples"]


@dataclass(frozen=True)
class Examples:
    """Inputs with their targets, as a user knows them.

    Args:
        inputs: texts, lists of words, waveforms (N,) float32 in -1 … 1, pictures (H, W) or (H, W, C) uint8, or numbers
            (T, F).
        targets: a label, a list of labels, or a text for each; None where nothing is known.
        places: where each came from, such as ``"reviews.tsv, line 12"`` or a file's name; default ``"example 1"`` on.
        notes: lines that a user should read: what was left out or changed on the way.
    Raises: DataError if their numbers differ.
    """

    inputs: Sequence[Any]
    targets: Sequence[Any] | None = None
    places: Sequence[str] = ()
    notes: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", list(self.inputs))
        if self.targets is not None:
            object.__setattr__(self, "targets", list(self.targets))
        if not self.places:
            object.__setattr__(self, "places", [f"example {n}" for n in range(1, len(self.inputs) + 1)])
        for name in ("targets", "places"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.inputs):
                raise DataError(f"there are {len(self.inputs)} inputs and {len(values)} {name}; give one for each")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, numbers: Sequence[int]) -> Examples:
        """Return some of them, by number."""
        targets = None if self.targets is None else [self.targets[n] for n in numbers]
        return Examples([self.inputs[n] for n in numbers], targets, [self.places[n] for n in numbers], self.notes)
