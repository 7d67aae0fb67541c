"""The training example whose input is nearest, of texts and of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.data.examples import Examples
from recurra.evaluation.sampling import sample
from recurra.libraries import need

__all__ = ["nearest_pictures", "nearest_texts"]

FEWER = 20_000
"""Training examples that are searched where all would take too long."""
MOST_CHARACTERS, MOST_PRODUCTS, MOST_PIXELS = 8_000_000, 2_000_000_000, 1_000_000_000_000
"""What takes some ten seconds on one core: to count, to multiply sparse, and to multiply."""
ROWS, PIECE = 64, 1024
"""Rows that are compared at once: of sparse texts, and of training pictures."""
NAME = "nearest neighbour"


def nearest_texts(input: Any, train: Examples, inputs: Sequence[Any]) -> tuple[str, list[str]]:
    """Give each text the target of the training text most like it: cosine of TF-IDF of 2 to 4 characters.

    Args:
        input: of the model.
    Returns: (name, with the number of training texts if not all are searched; targets).
    """
    texts, wanted = ([input.text(raw) for raw in side] for side in (train.inputs, inputs))
    total, part = len(train), sample(train, FEWER)
    known, asked = _weigh([input.text(raw) for raw in part.inputs], wanted)
    products = _products(known, asked) * total // len(part)
    if len(part) < total and sum(map(len, texts)) <= MOST_CHARACTERS and products <= MOST_PRODUCTS:
        part = train
        known, asked = _weigh(texts, wanted)
    columns = known.T.tocsr()
    pieces = [asked[start : start + ROWS] @ columns for start in range(0, len(inputs), ROWS)]
    return _name(part, total), _targets(part, np.concatenate([np.ravel(piece.argmax(1)) for piece in pieces]))


def _weigh(known: Sequence[str], asked: Sequence[str]) -> tuple[Any, Any]:
    """Return the TF-IDF of 2 to 4 characters of both, sparse, rows of length 1; of single ones if none has two."""
    library = need("sklearn.feature_extraction.text")
    shortest = 2 if any(len(text.strip()) > 1 for text in known) else 1
    counter = library.TfidfVectorizer(analyzer="char", ngram_range=(shortest, 4), lowercase=False)
    return counter.fit_transform(known), counter.transform(asked)


def _products(known: Any, asked: Any) -> int:
    """Return how many numbers are multiplied to compare all rows of two sparse matrices."""
    return int(np.bincount(known.indices, minlength=known.shape[1])[asked.indices].sum())


def nearest_pictures(input: Any, train: Examples, pictures: Sequence[Any]) -> tuple[str, list[str]]:
    """Give each picture the target of the training picture at the smallest squared distance of its pixels.

    Args:
        input: of the model; pictures are compared as it encodes them.
    Returns: (name, with the number of training pictures if not all are searched; targets).
    """
    asked = np.stack([np.ravel(input.encode(raw)) for raw in pictures])
    total = len(train)
    if asked.size * total > MOST_PIXELS:
        train = sample(train, FEWER)
    best, found = np.full(len(asked), np.inf), np.zeros(len(asked), np.int64)
    rows = np.arange(len(asked))
    for start in range(0, len(train), PIECE):
        known = np.stack([np.ravel(input.encode(raw)) for raw in train.inputs[start : start + PIECE]])
        # ‖a - b‖² less ‖a‖², which is the same for every b
        distances = (known**2).sum(1) - 2 * asked @ known.T
        nearest = distances.argmin(1)
        closer = distances[rows, nearest] < best
        best[closer], found[closer] = distances[rows, nearest][closer], start + nearest[closer]
    return _name(train, total), _targets(train, found)


def _name(searched: Examples, total: int) -> str:
    return NAME if len(searched) == total else f"{NAME} of {len(searched):,} training examples"


def _targets(train: Examples, numbers: NDArray[np.int64]) -> list[str]:
    targets = train.targets or ()
    return [targets[number] for number in numbers]
