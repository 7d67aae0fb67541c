"""How well a model puts whole sequences into classes, beside the majority class and naive Bayes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recurra.data.examples import Examples
from recurra.evaluation.assessment import Assessment
from recurra.evaluation.labels import all_labels, majority, score_labels
from recurra.evaluation.sampling import check_assessable, sample
from recurra.libraries import need

__all__ = ["assess_classifier", "naive_bayes"]

MOST_OF_WORDS, MOST_BY_ONE = 20_000_000, 5_000_000
"""Characters of training texts whose words, or characters, are counted; it is a matter of seconds."""


def assess_classifier(
    model: Any, examples: Examples, train: Examples, progress: Callable[[int, int], None] | None = None
) -> Assessment:
    """Score a model that gives each input a label. A label that training did not have counts as wrong.

    Args:
        train: what the baselines learn from.
        progress: called with (examples done, examples in all).
    Raises: DataError if there is nothing to compare with.
    """
    truth, taught = list(check_assessable(examples)), list(check_assessable(train))
    started = time.perf_counter()
    predictions = model.predict(examples.inputs, progress=progress)
    seconds = time.perf_counter() - started
    said = [prediction.label for prediction in predictions]
    names = all_labels(model.target.names, [*truth, *taught])
    scores = score_labels(truth, said, names)
    nats = _nats(model.target.names, truth, [prediction.probabilities for prediction in predictions])
    most = majority(taught)
    guesses = {f"majority class '{most}'": [most] * len(truth)}
    if model.input.kind == "text" and len(set(taught)) > 1:
        name, labels = naive_bayes(model.input, train, examples.inputs)
        guesses[name] = labels
    baselines = {}
    for name, labels in guesses.items():
        others = score_labels(truth, labels, names)
        baselines[name] = {"accuracy": others.accuracy, "macro_f1": others.macro_f1}
    details = {"confusion": scores.confusion, "classes": scores.classes, "predictions": predictions}
    return Assessment("classify", {**scores.metrics, **nats}, baselines, "accuracy", len(truth), seconds, details)


def naive_bayes(input: Any, train: Examples, inputs: Sequence[Any]) -> tuple[str, list[str]]:
    """Label texts by multinomial naive Bayes on counts of words; of 1 to 3 characters where a model reads those.

    Args:
        input: of the model; its tokenizer tells what it reads.
    Returns: (name, with the number of training texts if not all are counted; labels).
    """
    text, bayes = (need(f"sklearn.{part}") for part in ("feature_extraction.text", "naive_bayes"))
    by_character = input.tokenizer.kind in ("char", "byte")
    name = "naive Bayes on " + ("1-3 characters" if by_character else "words")
    characters = sum(len(input.text(raw)) for raw in train.inputs)
    most = MOST_BY_ONE if by_character else MOST_OF_WORDS
    part = sample(train, len(train) * most // max(characters, most))
    if len(part) < len(train):
        name += f" of {len(part):,} training texts"
    if by_character:
        counter = text.CountVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=input.lowercase)
    else:
        counter = text.CountVectorizer(token_pattern=r"\w+|[^\w\s]")
    counts = counter.fit_transform(input.text(raw) for raw in part.inputs)
    classifier = bayes.MultinomialNB().fit(counts, np.asarray(part.targets, dtype=object))
    return name, classifier.predict(counter.transform(input.text(raw) for raw in inputs)).tolist()


def _nats(names: Sequence[str], truth: Sequence[str], probabilities: Sequence[Any]) -> dict[str, float]:
    """Return the mean nats of true labels that the model knows; nothing if it knows none."""
    number = {name: n for n, name in enumerate(names)}
    known = [float(given[number[label]]) for label, given in zip(truth, probabilities, strict=True) if label in number]
    tiny = np.finfo(np.float64).tiny
    return {"loss_nats": float(-np.log(np.maximum(known, tiny)).mean())} if known else {}
