"""Four shapes of sequences learned in ten seconds: a label, a label for each letter, a text, a caption.

    python examples/tasks.py

classify   which letter comes first in the alphabet: the first of a word?     many to one
tag        does the alphabet go up or down at each letter?                    many to many, aligned
translate  a word written backwards                                           many to many, not aligned
caption    where in a picture is the square, and is it dark or bright?        one to many
"""

from __future__ import annotations

import argparse
import random
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch

import recurra as rc

SQUARES = list(product(("dark", "bright"), ("top", "bottom"), ("left", "right")))


def made_up_words(count: int) -> list[str]:
    """Return words of two to six letters, all different."""
    draw = random.Random(0)
    found = {"".join(draw.choice("abcd") for _ in range(draw.randint(2, 6))) for _ in range(count)}
    return sorted(found)


def steps(word: str) -> list[str]:
    """Label each letter by the one before it."""
    return ["start", *("up" if b > a else "down" if b < a else "same" for a, b in pairwise(word))]


def picture(shade: str, side: str, other: str, draw: np.random.Generator) -> np.ndarray:
    """Return a picture (8, 8) of any brightness with a square in one of its quarters."""
    points = np.full((8, 8), draw.integers(60, 196), np.uint8)
    top, left = 4 * (side == "bottom") + draw.integers(2), 4 * (other == "right") + draw.integers(2)
    points[top : top + 3, left : left + 3] += np.uint8(60 if shade == "bright" else 256 - 60)
    return points


def learn(task: str, model: Any, inputs: list, targets: list, epochs: int, **settings: Any) -> None:
    """Train a model of a task, and print one answer and how it compares with simpler ways."""
    data = rc.Dataset.from_examples(rc.Examples(inputs, targets), task=task, valid=0.2)
    torch.manual_seed(0)
    network = model(data.input, data.target, cell="gru", dropout=0.0, **settings)
    run = rc.Trainer(network, data, epochs=epochs, batch=16, lr=0.01).fit()
    (answer,) = run.model.predict(data.valid.inputs[:1])
    print(f"{task}: said {answer.said!r}, wanted {data.valid.targets[0]!r}")
    print("\n".join(f"  {sentence}" for sentence in run.assess().verdict))


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn four shapes of sequences in ten seconds.")
    parser.add_argument("--quick", action="store_true", help="one epoch each, to see that it runs")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)

    words = made_up_words(400)
    first = ["yes" if word[0] == min(word) else "no" for word in words]
    learn("classify", rc.SequenceClassifier, words, first, epochs=1 if quick else 10, hidden=16)
    learn("tag", rc.SequenceTagger, words, [steps(word) for word in words], epochs=1 if quick else 10, hidden=16)
    learn("translate", rc.EncoderDecoder, words, [word[::-1] for word in words], epochs=1 if quick else 15, hidden=32)

    draw = np.random.default_rng(0)
    squares = SQUARES * 40
    captions = [f"a {shade} square at the {side} {other}" for shade, side, other in squares]
    pictures = [picture(*square, draw) for square in squares]
    learn("caption", rc.Captioner, pictures, captions, epochs=1 if quick else 15, hidden=32)


if __name__ == "__main__":
    main()
