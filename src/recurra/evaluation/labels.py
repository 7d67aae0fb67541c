"""Predicted labels against true ones: shares, confusion, and scores of every label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from recurra.libraries import need

__all__ = ["LabelScores", "all_labels", "majority", "score_labels"]


class LabelScores(NamedTuple):
    """How predicted labels compare with true ones.

    Args:
        accuracy: share that is right.
        macro_precision, macro_recall, macro_f1: means over the labels that occur, in truth or as predicted.
        labels: names, in the order of rows and columns.
        counts: (C, C), rows the truth, columns what was predicted.
        classes: precision, recall, f1 and support (how often it is true) of each label that occurs.
    """

    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    labels: list[str]
    counts: list[list[int]]
    classes: dict[str, dict[str, float]]

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers by name."""
        return {
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "precision": self.macro_precision,
            "recall": self.macro_recall,
        }

    @property
    def confusion(self) -> dict[str, Any]:
        """Labels and counts."""
        return {"labels": self.labels, "counts": self.counts}


def majority(labels: Iterable[str]) -> str:
    """Return the most frequent label; the first by name of several."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def all_labels(known: Sequence[str], truth: Iterable[str]) -> list[str]:
    """Return the labels that a model knows, and then those of the truth that it does not, sorted."""
    return [*known, *sorted(set(truth) - set(known))]


def score_labels(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> LabelScores:
    """Compare labels one by one. What is divided by nothing is 0."""
    metrics = need("sklearn.metrics")
    number = {label: n for n, label in enumerate(labels)}
    true, said = (np.fromiter((number[label] for label in side), np.int64, len(side)) for side in (truth, predicted))
    every = np.arange(len(labels))
    table = np.stack(metrics.precision_recall_fscore_support(true, said, labels=every, zero_division=0.0), 1)
    occurs = np.union1d(true, said)
    macro = table[occurs].mean(0)
    classes = {
        labels[n]: dict(zip(("precision", "recall", "f1"), map(float, table[n]), strict=False))
        | {"support": int(table[n, 3])}
        for n in occurs
    }
    counts = metrics.confusion_matrix(true, said, labels=every).tolist()
    precision, recall, f1 = map(float, macro[:3])
    return LabelScores(float((true == said).mean()), precision, recall, f1, list(labels), counts, classes)
