"""Pictures of an assessment, in the report of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.examples import Examples, TextInput
from recurra.evaluation import Assessment
from recurra.figures import AttentionMap, Captioned, plot_attention_map, plot_captions, plot_confusion

__all__ = ["draw_assessment"]

MAPS, PICTURES = 4, 12
LONGEST_MAP = 16
"""Tokens of a text beyond which a map of its attention can hardly be read."""


def draw_assessment(model: Any, examples: Examples, assessment: Assessment, folder: Path, name: str) -> list[Path]:
    """Draw what a model said about examples: who was taken for whom, what it looked at, what it sees in pictures.

    Args:
        folder: of the report; files are ``<name>-confusion.png``, ``<name>-attention.png``, ``<name>-captions.png``;
            they replace those of an earlier assessment under the same name.
    Returns: the files that were drawn.
    """
    title, subtitle = f"{assessment.task}: {name}", assessment.headline
    predictions = assessment.details.get("predictions", ())
    drawn = []
    if "confusion" in assessment.details:
        confusion, path = assessment.details["confusion"], folder / f"{name}-confusion.png"
        plot_confusion(confusion["labels"], confusion["counts"], path, title=title, subtitle=subtitle)
        drawn.append(path)
    if model.input.kind == "picture" and predictions:
        path = folder / f"{name}-captions.png"
        plot_captions(_captioned(examples, predictions), path, title=title, subtitle=subtitle)
        drawn.append(path)
    elif maps := _maps(model.input, examples, predictions):
        path = folder / f"{name}-attention.png"
        plot_attention_map(maps, path, title=title, subtitle=subtitle)
        drawn.append(path)
    return drawn


def _captioned(examples: Examples, predictions: Sequence[Any]) -> list[Captioned]:
    targets = examples.targets or [None] * len(examples)
    return [
        Captioned(examples.inputs[n], predictions[n].said, targets[n], predictions[n].tokens, predictions[n].attention)
        for n in _spread(range(len(predictions)), PICTURES)
        if hasattr(predictions[n], "tokens")
    ]


def _maps(input: Any, examples: Examples, predictions: Sequence[Any]) -> list[AttentionMap]:
    """Return maps of a few examples whose attention is known, of such lengths as can be read."""
    known = [n for n, each in enumerate(predictions) if getattr(each, "attention", None) is not None]
    if not known or not isinstance(input, TextInput):
        return []
    fitting = [n for n in known if max(np.shape(predictions[n].attention)) <= LONGEST_MAP]
    sizes = {n: np.size(predictions[n].attention) for n in fitting or known}
    largest = sorted(sizes, key=lambda n: sizes[n])[-max(len(sizes) // 2, 1) :]
    return [_map(input, examples.inputs[n], predictions[n]) for n in _spread(sorted(largest), MAPS)]


def _map(input: TextInput, raw: Any, prediction: Any) -> AttentionMap:
    read = [input.tokenizer.symbol(int(token)) for token in input.encode(raw)]
    return AttentionMap(read, getattr(prediction, "tokens", [prediction.said]), np.atleast_2d(prediction.attention))


def _spread(numbers: Sequence[int], count: int) -> list[int]:
    """Return up to so many of the numbers, evenly far apart."""
    return [numbers[k * len(numbers) // count] for k in range(count)] if len(numbers) > count else list(numbers)
