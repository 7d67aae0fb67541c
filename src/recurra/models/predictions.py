"""What models say about one input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Alternative", "Classified", "Tagged", "Written"]


class Classified(NamedTuple):
    """A label for a whole input.

    Args:
        label: the most probable one.
        probabilities: (C,) of all labels, in the order of the target's names.
        attention: (T,) how much each step counted; None where the model does not weigh them.
    """

    label: str
    probabilities: NDArray[np.float64]
    attention: NDArray[np.float64] | None = None

    @property
    def said(self) -> str:
        """What is compared with the truth: the label."""
        return self.label


class Tagged(NamedTuple):
    """A label for each step.

    Args:
        labels: T of them, the most probable ones.
        probabilities: (T,) of these labels.
    """

    labels: list[str]
    probabilities: NDArray[np.float64]

    @property
    def said(self) -> list[str]:
        """What is compared with the truth: the labels."""
        return self.labels


class Alternative(NamedTuple):
    """A text that could have been written, and the nats of all its tokens, the end included."""

    text: str
    nats: float


class Written(NamedTuple):
    """A text.

    Args:
        nats: of all its tokens, the end included.
        tokens: S of them as they stand in the vocabulary, the end included where it was reached.
        attention: (S, T) how much each input step, or place of a picture, counted for each token; None without
            attention.
        others: the next best texts that a beam found, best first, as many as were asked for.
    """

    text: str
    nats: float
    tokens: list[str]
    attention: NDArray[Any] | None = None
    others: Sequence[Alternative] = ()

    @property
    def said(self) -> str:
        """What is compared with the truth: the text."""
        return self.text
