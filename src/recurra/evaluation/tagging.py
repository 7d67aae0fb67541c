"""How well a model labels every step, beside the most frequent labels of tokens and of words."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from recurra.data.examples import Examples
from recurra.data.examples.inputs import lower
from recurra.errors import DataError
from recurra.evaluation.assessment import Assessment
from recurra.evaluation.labels import LabelScores, all_labels, majority, score_labels
from recurra.evaluation.sampling import check_assessable
from recurra.evaluation.spans import are_spans, span_scores

__all__ = ["assess_tagger"]

WORD = re.compile(r"(?:[^\W\d_]|['’])+")
"""A run of letters and apostrophes."""
Labelled = Sequence[Sequence[str]]
"""Labels of every step of every example."""


def assess_tagger(
    model: Any, examples: Examples, train: Examples, progress: Callable[[int, int], None] | None = None
) -> Assessment:
    """Score a model that gives each step a label. A label that training did not have counts as wrong.

    ``f1``, ``precision`` and ``recall`` are those of the rarer label of training if there are two, else micro averages
    over all but its most frequent label; ``span_f1`` is that of CoNLL, where labels are O, B-X and I-X.

    Args:
        train: what the baselines learn from.
        progress: called with (examples done, examples in all).
    Raises: DataError if there is nothing to compare with, or labels are not as many as steps.
    """
    truth, taught = [list(labels) for labels in check_assessable(examples)], check_assessable(train)
    started = time.perf_counter()
    predictions = model.predict(examples.inputs, progress=progress)
    seconds = time.perf_counter() - started
    said = [prediction.labels for prediction in predictions]
    for place, expected, given in zip(examples.places, truth, said, strict=True):
        if len(expected) != len(given):
            raise DataError(f"{place} has {len(given)} steps and {len(expected)} labels; give one for each")
    frequent = Counter(chain.from_iterable(taught))
    names = all_labels(model.target.names, chain(frequent, *truth))
    scores = score_labels(list(chain(*truth)), list(chain(*said)), names)
    metrics = _metrics(scores, truth, said, frequent)
    guesses = _guesses(model, examples, train, majority(frequent))
    baselines = {name: _score(truth, labels, names, frequent) for name, labels in guesses.items()}
    main = "span_f1" if "span_f1" in metrics else "f1" if len(frequent) == 2 else "accuracy"
    details = {"confusion": scores.confusion, "classes": scores.classes, "predictions": predictions}
    details["trials"] = sum(map(len, truth))
    return Assessment("tag", metrics, baselines, main, len(truth), seconds, details)


def _score(truth: Labelled, said: Labelled, names: Sequence[str], frequent: Counter[str]) -> dict[str, float]:
    scores = score_labels(list(chain(*truth)), list(chain(*said)), names)
    return _metrics(scores, truth, said, frequent)


def _metrics(scores: LabelScores, truth: Labelled, said: Labelled, frequent: Counter[str]) -> dict[str, float]:
    most = majority(frequent)
    wanted = [n for n, name in enumerate(scores.labels) if name != most]
    if len(frequent) == 2:
        wanted = [n for n in wanted if scores.labels[n] in frequent]
    right = sum(scores.counts[n][n] for n in wanted)
    true = sum(map(sum, (scores.counts[n] for n in wanted)))
    guessed = sum(row[n] for row in scores.counts for n in wanted)
    metrics = {
        "accuracy": scores.accuracy,
        "macro_f1": scores.macro_f1,
        "f1": 2 * right / max(true + guessed, 1),
        "precision": right / max(guessed, 1),
        "recall": right / max(true, 1),
    }
    if are_spans(frequent):
        names = ("span_precision", "span_recall", "span_f1")
        metrics |= dict(zip(names, span_scores(truth, said), strict=True))
    return metrics


def _guesses(model: Any, examples: Examples, train: Examples, most: str) -> dict[str, Labelled]:
    """Return the labels of every baseline by its name."""
    lengths = [len(labels) for labels in examples.targets or ()]
    guesses: dict[str, Labelled] = {f"majority label '{most}'": [[most] * length for length in lengths]}
    if model.input.kind != "text":
        return guesses
    read, taught = (_tokens(part.inputs, model.input) for part in (examples, train))
    if any(len(tokens) != length for tokens, length in zip(read, lengths, strict=True)):
        return guesses  # the steps of the model are not those tokens
    pairs = list(zip(taught, train.targets or (), strict=True))
    usual = _most_frequent(
        (token, label) for tokens, labels in pairs for token, label in zip(tokens, labels, strict=True)
    )
    guesses["most frequent label of each token"] = [[usual.get(token, most) for token in tokens] for tokens in read]
    if all(len(token) == 1 for tokens in taught for token in tokens):
        words = _most_frequent(
            (word, tuple(labels[start : start + len(word)]))
            for tokens, labels in pairs
            for start, word in _words(tokens)
        )
        guesses["most frequent labelling of each word"] = [_by_word(tokens, words, usual, most) for tokens in read]
    return guesses


def _tokens(inputs: Sequence[Any], input: Any) -> list[list[str]]:
    by_word = input.tokenizer.kind == "word"
    texts = [(raw.split() if by_word else list(raw)) if isinstance(raw, str) else list(raw) for raw in inputs]
    return [[lower(token) for token in tokens] for tokens in texts] if input.lowercase else texts


def _words(characters: Sequence[str]) -> Iterator[tuple[int, str]]:
    for found in WORD.finditer("".join(characters)):
        yield found.start(), found.group()


def _most_frequent(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return for each key what it was most often seen with; the first seen of several."""
    counts: defaultdict[Any, Counter[Any]] = defaultdict(Counter)
    for key, value in pairs:
        counts[key][value] += 1
    return {key: seen.most_common(1)[0][0] for key, seen in counts.items()}


def _by_word(
    characters: Sequence[str], words: dict[str, tuple[str, ...]], usual: dict[str, str], most: str
) -> list[str]:
    """Label known words as they mostly were, unknown ones by the majority, and what is no word by itself."""
    labels = [usual.get(character, most) for character in characters]
    for start, word in _words(characters):
        labels[start : start + len(word)] = words.get(word, [most] * len(word))
    return labels
