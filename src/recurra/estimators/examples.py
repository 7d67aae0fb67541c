"""Estimators that learn from examples: labels, labels of each step, texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from recurra.errors import DataError
from recurra.estimators.base import ExamplesEstimator, holds_sequences

__all__ = ["Captioner", "EncoderDecoder", "SequenceClassifier", "SequenceTagger"]


class SequenceClassifier(ClassifierMixin, ExamplesEstimator):
    """`recurra.SequenceClassifier` as a classifier of scikit-learn.

    Attributes after `fit`:
        classes_: (C,) the labels, sorted.
        model_, metrics_: the model, and the lines of metrics of its training.
    """

    task = "classify"

    def _inputs_and_targets(self, X: Any, y: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        if holds_sequences(X):
            check_consistent_length(X, y)
            inputs, labels = list(X), column_or_1d(y, warn=True)
        else:
            table, labels = validate_data(self, X, y, dtype=np.float32, allow_nd=True)
            inputs = list(table)
        check_classification_targets(labels)
        if len(labels) < 2:
            raise DataError(f"a classifier learns from several examples, and n_samples = {len(labels)}; give more")
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"there is one class alone, {self.classes_[0]!r}; give examples of others, too")
        return inputs, [_name(number) for number in numbers]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities (n, C) of the classes, in the order of `classes_`."""
        check_is_fitted(self)
        return np.stack([prediction.probabilities for prediction in self._predict(X)])

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each input, (n,)."""
        probabilities = self.predict_proba(X)
        chosen: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return chosen


class SequenceTagger(ExamplesEstimator):
    """`recurra.SequenceTagger` as an estimator: a label for each step. Targets are lists of labels."""

    task = "tag"

    def predict(self, X: Any) -> list[list[str]]:
        """Return the labels of each input, one for each of its steps."""
        return [prediction.labels for prediction in self._predict(X)]

    def score(self, X: Any, y: Any) -> float:
        """Return the share of steps whose label is right."""
        pairs = zip(self.predict(X), y, strict=True)
        found = [(said, truth) for labels, truths in pairs for said, truth in zip(labels, truths, strict=True)]
        return float(accuracy_score([truth for _, truth in found], [said for said, _ in found]))


class EncoderDecoder(ExamplesEstimator):
    """`recurra.EncoderDecoder` as an estimator: a text for a text."""

    task = "translate"

    def predict(self, X: Any) -> list[str]:
        """Return the text that is written for each input."""
        return [prediction.text for prediction in self._predict(X)]

    def score(self, X: Any, y: Any) -> float:
        """Return the share of texts that are the same as the wanted ones."""
        return float(np.mean([said == wanted for said, wanted in zip(self.predict(X), y, strict=True)]))


class Captioner(EncoderDecoder):
    """`recurra.Captioner` as an estimator: a text for a picture (H, W) or (H, W, C) of uint8."""

    task = "caption"


def _name(number: int) -> str:
    """Name a class by its number, so that names sort as classes do."""
    return f"{number:09}"
