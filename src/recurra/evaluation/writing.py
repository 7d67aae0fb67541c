"""How well a model writes texts about what it reads or sees, beside copying, the nearest neighbour and usual words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median_high
from typing import Any

import torch

from recurra.data.examples import ExampleBatch, Examples
from recurra.decoding import Beam
from recurra.errors import RecurraError
from recurra.evaluation.assessment import Assessment
from recurra.evaluation.neighbours import nearest_pictures, nearest_texts
from recurra.evaluation.sampling import check_assessable
from recurra.libraries import need
from recurra.models.modes import evaluating

__all__ = ["assess_writer", "score_texts"]

FOUR = 4
"""Words in a row that BLEU counts at most."""
ROWS = 64
"""Examples whose loss is computed at once."""


def assess_writer(
    model: Any,
    examples: Examples,
    train: Examples,
    progress: Callable[[int, int], None] | None = None,
    beam: Beam | None = None,
) -> Assessment:
    """Score a model that writes a text about each input.

    ``bleu`` and ``chrf`` are those of sacrebleu, with one reference; ``exact`` is the share of texts that are the same,
    up to white space; ``loss_nats`` is the mean over tokens of the true texts.
    Compared is BLEU, or chrF where most texts are a single word.

    Args:
        train: what the baselines learn from.
        progress: called with (examples done, examples in all).
        beam: how to search for the texts; by default the most likely token is taken each time.
    Raises: DataError if there is nothing to compare with.
    """
    truth = check_assessable(examples)
    check_assessable(train)
    started = time.perf_counter()
    search = {} if beam is None else {"beam": beam}  # a model of the user's own need not know of beams
    predictions = model.predict(examples.inputs, progress=progress, **search)
    seconds = time.perf_counter() - started
    metrics = score_texts([prediction.text for prediction in predictions], truth) | _loss(model, examples)
    guesses = _guesses(model.input, train, examples.inputs)
    baselines = {name: score_texts(texts, truth) for name, texts in guesses.items()}
    task = "caption" if model.input.kind == "picture" else "translate"
    # BLEU is 0 where no text has four words in a row that are right: of short texts it says little.
    main = "bleu" if median_high([len(text.split()) for text in truth]) >= FOUR else "chrf"
    return Assessment(task, metrics, baselines, main, len(truth), seconds, {"predictions": predictions})


def score_texts(written: Sequence[str], truth: Sequence[str]) -> dict[str, float]:
    """Return bleu, chrf and exact of texts against one reference each.

    BLEU counts words; where most references are a single one, as in scripts without spaces, it counts characters, up to
    as many in a row as there are.
    """
    sacrebleu = need("sacrebleu")
    words = _has_words(truth)
    counting = {"tokenize": "13a" if words else "char", "use_effective_order": not words}
    same = sum(" ".join(a.split()) == " ".join(b.split()) for a, b in zip(written, truth, strict=True))
    return {
        "bleu": float(sacrebleu.corpus_bleu(list(written), [list(truth)], force=True, **counting).score),
        "chrf": float(sacrebleu.corpus_chrf(list(written), [list(truth)]).score),
        "exact": same / len(truth),
    }


def _has_words(truth: Sequence[str]) -> bool:
    """Tell whether at least half of the texts have several words."""
    return 2 * sum(len(text.split()) > 1 for text in truth) >= len(truth)


def _loss(model: Any, examples: Examples) -> dict[str, float]:
    """Return the mean nats per token of the true texts, of those that the model can read and write."""
    encoded = []
    for raw, target in zip(examples.inputs, examples.targets or (), strict=True):
        try:
            encoded.append((model.input.encode(raw), model.target.encode(target)))
        except RecurraError:  # its tokens were never seen
            continue
    encoded.sort(key=lambda pair: len(pair[1]))
    device = next(model.parameters()).device
    nats, count = 0.0, 0
    with torch.no_grad(), evaluating(model):
        for start in range(0, len(encoded), ROWS):
            inputs, targets = zip(*encoded[start : start + ROWS], strict=True)
            numbers = torch.arange(start, start + len(inputs))
            batch = ExampleBatch(model.input.collate(inputs), model.target.collate(targets), numbers)
            loss = model.loss(batch.to(device))
            nats, count = nats + float(loss.nats), count + int(loss.count)
    return {"loss_nats": nats / count} if count else {}


def _guesses(input: Any, train: Examples, inputs: Sequence[Any]) -> dict[str, list[str]]:
    """Return the texts of every baseline by its name."""
    if input.kind == "text":
        copied = [raw if isinstance(raw, str) else input.text(raw) for raw in inputs]
        return {"copying the input": copied, **dict([nearest_texts(input, train, inputs)])}
    usual = {"most frequent words": [_usual_words(train.targets or ())] * len(inputs)}
    return dict([nearest_pictures(input, train, inputs)]) | usual if input.kind == "picture" else usual


def _usual_words(texts: Sequence[str]) -> str:
    """Return the most frequent words, the most frequent first, as many as the median text has."""
    words = [text.split() for text in texts]
    counts = Counter(word for text in words for word in text)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return " ".join(ranked[: median_high(map(len, words))])
