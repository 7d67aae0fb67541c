"""Any model of a task, scored beside what the simplest ways score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recurra.data.examples import Examples
from recurra.decoding import Beam
from recurra.errors import ConfigError
from recurra.evaluation.assessment import Assessment
from recurra.evaluation.classification import assess_classifier
from recurra.evaluation.tagging import assess_tagger
from recurra.evaluation.writing import assess_writer

__all__ = ["assess"]

WAYS: dict[str, Callable[..., Assessment]] = {
    "label": assess_classifier,
    "labels": assess_tagger,
    "text": assess_writer,
}


def assess(
    model: Any,
    examples: Examples,
    *,
    train: Examples,
    progress: Callable[[int, int], None] | None = None,
    beam: Beam | None = None,
) -> Assessment:
    """Score a model on examples, as its task asks for.

    Args:
        model: a classifier, tagger, encoder-decoder or captioner.
        examples: with targets.
        train: what it was trained on, which the baselines learn from.
        progress: called with (examples done, examples in all).
        beam: how to search for texts, of a model that writes them.
    Raises: DataError if there is nothing to compare with; ConfigError for any other model, or a beam where none is.
    """
    kind = getattr(getattr(model, "target", None), "kind", None)
    if kind not in WAYS:
        known = "a classifier, a tagger, or one that writes texts"
        raise ConfigError(f"{type(model).__name__} says nothing that can be assessed here; give {known}")
    if beam is None:
        return WAYS[kind](model, examples, train, progress)
    if kind != "text":
        raise ConfigError(f"a beam searches for texts, and {type(model).__name__} writes none; leave it out")
    return assess_writer(model, examples, train, progress, beam)
