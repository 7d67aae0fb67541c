"""Memorise the beginning of a book: the protocol of Dive into Deep Learning's chapters on recurrent networks.

    python examples/time_machine.py timemachine.txt --cell lstm
    python examples/time_machine.py timemachine.txt --cell gru

Everything but letters becomes a space, letters become small, and the first 10,000 characters are learned by heart.
Prints the perplexity on the training text over the last epoch, as it was while training. It says how well a short text
was memorised, and nothing about other texts.
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

import torch

import recurra as rc

CHARACTERS = 10_000


def prepare(text: str) -> str:
    """Keep small letters and single spaces, and of those the first 10,000."""
    return re.sub("[^A-Za-z]+", " ", text).lower()[:CHARACTERS]


def perplexity_of_last_epoch(metrics: list[dict[str, Any]], epochs: int) -> float:
    """Average the training loss over the steps of the last epoch; each row covers the steps since the row before."""
    last_step = metrics[-1]["step"]
    first_step = last_step - last_step // epochs
    nats, before = 0.0, first_step
    for row in metrics:
        if row["step"] > first_step:
            nats += row["loss_nats"] * (row["step"] - before)
            before = row["step"]
    return math.exp(nats / (last_step - first_step))


def main() -> None:
    parser = argparse.ArgumentParser(description="Memorise the first 10,000 characters of a book.")
    parser.add_argument("text", type=Path, help="the book as a text file")
    parser.add_argument("--cell", default="lstm", help="lstm, gru, rnn, ...")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tiny model and two epochs, to see that it runs")
    args = parser.parse_args()

    config = rc.recipes.find_recipe("time-machine").with_settings(cell=args.cell, seed=args.seed)
    if args.quick:
        config = config.with_settings(hidden=8, epochs=2)
    torch.manual_seed(args.seed)
    text = prepare(args.text.read_text(encoding="utf-8"))
    corpus = rc.Corpus.from_text(text, valid=0.0, name=args.text.stem)
    model = rc.LanguageModel(corpus.vocabulary, config.model)
    run = rc.Trainer(model, corpus, config=config.training, recipe=config.recipe).fit()
    perplexity = perplexity_of_last_epoch(run.metrics, config.training.epochs)
    print(f"{args.cell}: training perplexity {perplexity:.3f} after {config.training.epochs} epochs, in {run.path}")
    print(f"{text[:20]}|{run.model.generate(text[:20], tokens=80, greedy=True)}")


if __name__ == "__main__":
    main()
