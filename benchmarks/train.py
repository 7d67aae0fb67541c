"""Tokens per second of recurra's trainer against the hand-written torch loop, interleaved; prints JSON.

python benchmarks/train.py TEXT [--rounds 7] [--steps 60]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch_loop import train as train_by_hand

from recurra.data import Corpus
from recurra.models import LanguageModel
from recurra.training import Reporter, Trainer

SHAPES = ((64, 256, 32, 64), (64, 512, 32, 64))


class Clock(Reporter):
    """Tokens per second up to the last step; what comes after it, validation and a sample, is left out."""

    rate = 0.0

    def step(self, step: int, loss_nats: float, grad_norm: float) -> None:
        self.rate = step * self.tokens_per_step / (time.monotonic() - self.started)


def train_with_recurra(cell: str, corpus: Corpus, shape: tuple[int, int, int, int], steps: int) -> float:
    embedding, hidden, rows, window = shape
    model = LanguageModel(corpus.vocabulary, cell=cell, hidden=hidden, embedding=embedding)
    reporter = Clock()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model, corpus, out=Path(folder) / "run", steps=steps, batch=rows, backprop=str(window), reporter=reporter
        ).fit()
    return reporter.rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    corpus = Corpus.from_file(arguments.text, tokenizer="char", valid=0.0)
    tokens = torch.from_numpy(corpus.train.ids.astype("int64"))
    results = []
    for shape in SHAPES:
        embedding, hidden, rows, window = shape
        for cell in ("rnn", "gru", "lstm"):
            ours, theirs = [], []
            for _ in range(arguments.rounds):
                ours.append(train_with_recurra(cell, corpus, shape, arguments.steps))
                theirs.append(
                    train_by_hand(
                        cell, tokens, vocabulary=len(corpus.vocabulary), embedding=embedding, hidden=hidden,
                        rows=rows, window=window, steps=arguments.steps,
                    )
                )  # fmt: skip
            row = {
                "cell": cell, "embedding": embedding, "hidden": hidden, "rows": rows, "window": window,
                "recurra_tokens_per_s": round(statistics.median(ours)),
                "torch_tokens_per_s": round(statistics.median(theirs)),
                "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3),
            }  # fmt: skip
            print(json.dumps(row), flush=True)
            results.append(row)
    print(json.dumps({"threads": torch.get_num_threads(), "torch": torch.__version__, "results": results}))


if __name__ == "__main__":
    main()
