"""Spans of labels that say where each begins and goes on: B-X, I-X, and O outside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["are_spans", "span_scores", "spans"]

Span = tuple[str, int, int]
"""What it is, its first step, and the step after its last."""
PATTERN = re.compile(r"O|[BI]-.+")


def are_spans(labels: Iterable[str]) -> bool:
    """Tell whether all labels are O, B-X or I-X, and some span begins."""
    names = set(labels)
    return any(name.startswith("B-") for name in names) and all(PATTERN.fullmatch(name) for name in names)


def spans(labels: Sequence[str]) -> list[Span]:
    """Return the spans of a sequence. I-X that continues nothing of its kind begins a span.

    Source: conlleval, of the shared task of CoNLL-2000 and -2003.
    """
    found: list[Span] = []
    kind, start = "", 0
    for step, label in enumerate([*labels, "O"]):
        mark, _, name = label.partition("-")
        if kind and (mark != "I" or name != kind):
            found.append((kind, start, step))
            kind = ""
        if name and not kind:
            kind, start = name, step
    return found


def span_scores(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> tuple[float, float, float]:
    """Return (precision, recall, F1) of spans; one is right if kind, beginning and end are."""
    right = said = true = 0
    for expected, given in zip(truth, predicted, strict=True):
        wanted, got = set(spans(expected)), set(spans(given))
        right, said, true = right + len(wanted & got), said + len(got), true + len(wanted)
    return right / max(said, 1), right / max(true, 1), 2 * right / max(said + true, 1)
