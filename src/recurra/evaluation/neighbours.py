"""The training example whose input is nearest, of texts and of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.data.examples import Examples
from recurra.data.examples.libraries import need
from recurra.evaluation.sampling import as_text, sample

__all__ = ["nearest_pictures", "nearest_texts"]

FEWER = 20_000
"""Training examples that are searched where all would take too long."""
MOST_CHARACTERS, MOST_PRODUCTS, MOST_PIXELS = 10_000_000, 3_000_000_000, 1_000_000_000_000
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
    texts = [as_text(raw, input) for raw in train.inputs]
    found = None if sum(map(len, texts)) > MOST_CHARACTERS else _similar(texts, inputs, input, MOST_PRODUCTS)
    if found is None:
        train = sample(train, FEWER)
        found = _similar([as_text(raw, input) for raw in train.inputs], inputs, input)
    return _name(train, len(texts)), _targets(train, found)


def _similar(
    texts: Sequence[str], inputs: Sequence[Any], input: Any, most: int | None = None
) -> NDArray[np.int64] | None:
    """Return the number of the text most like each input; None if that takes more than so many products."""
    library = need("sklearn.feature_extraction.text", "the nearest neighbour")
    try:
        counter = library.TfidfVectorizer(analyzer="char", ngram_range=(2, 4), lowercase=input.lowercase)
        known = counter.fit_transform(texts)
    except ValueError:  # no text has two characters
        counter = library.TfidfVectorizer(analyzer="char", lowercase=input.lowercase)
        known = counter.fit_transform(texts)
    asked = counter.transform(as_text(raw, input) for raw in inputs)
    products = int(np.bincount(known.indices, minlength=known.shape[1])[asked.indices].sum())
    if most is not None and products > most:
        return None
    columns = known.T.tocsr()
    pieces = [asked[start : start + ROWS] @ columns for start in range(0, len(inputs), ROWS)]
    return np.concatenate([np.asarray(piece.argmax(1)).ravel() for piece in pieces])


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
