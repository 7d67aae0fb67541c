"""Tokens per second of recurra's trainer against the hand-written torch loop, interleaved; prints JSON.

python benchmarks/train.py TEXT [--cell gru --layers 2 --hidden 256] [--words] [--tie] [--rounds 7] [--steps 60]

Ours runs twice: as it comes, and with the kernels of torch ("library") in place of compiled loops.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch_loop import Model
from torch_loop import train as train_by_hand

from recurra.data import Corpus
from recurra.models import LanguageModel
from recurra.training import Reporter, Trainer

CELLS = ("rnn", "gru", "lstm")


class Clock(Reporter):
    """Tokens per second up to the last step; what comes after it, validation and a sample, is left out."""

    rate = 0.0

    def step(self, step: int, loss_nats: float, grad_norm: float) -> None:
        self.rate = step * self.tokens_per_step / (time.monotonic() - self.started)


def train_with_recurra(corpus: Corpus, arguments: argparse.Namespace, cell: str, backend: str) -> float:
    a = arguments
    model = LanguageModel(
        corpus.vocabulary, cell=cell, layers=a.layers, hidden=a.hidden, embedding=a.embedding, tie=a.tie
    )
    reporter = Clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"steps": a.steps, "batch": a.rows, "backprop": str(a.window), "backend": backend}
        Trainer(model, corpus, out=Path(folder) / "run", reporter=reporter, **settings).fit()
    return reporter.rate


def measure(corpus: Corpus, tokens: torch.Tensor, arguments: argparse.Namespace, cell: str) -> dict[str, object]:
    a, vocabulary = arguments, len(corpus.vocabulary)
    contenders = {
        "recurra": lambda: train_with_recurra(corpus, a, cell, "auto"),
        "recurra library": lambda: train_with_recurra(corpus, a, cell, "library"),
        "torch": lambda: train_by_hand(
            Model(cell, vocabulary, a.embedding, a.hidden, a.layers, a.tie),
            tokens,
            rows=a.rows,
            window=a.window,
            steps=a.steps,
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(a.rounds):
        for name, run in contenders.items():
            rates[name].append(run())
    ours = rates["recurra"]
    return {
        "cell": cell,
        **{name: round(statistics.median(found)) for name, found in rates.items()},
        **{
            f"to {name}": round(statistics.median(x / y for x, y in zip(ours, rates[name], strict=True)), 3)
            for name in ("recurra library", "torch")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--cell", choices=CELLS, action="append")
    parser.add_argument("--words", action="store_true", help="tokens are words, not characters")
    parser.add_argument("--tie", action="store_true")
    for name, value in (("layers", 1), ("hidden", 256), ("embedding", 64), ("rows", 32), ("window", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    corpus = Corpus.from_file(arguments.text, tokenizer="word" if arguments.words else "char", valid=0.0)
    tokens = torch.from_numpy(corpus.train.ids.astype("int64"))
    rows = []
    for cell in arguments.cell or CELLS:
        rows.append(measure(corpus, tokens, arguments, cell))
        print(json.dumps(rows[-1]), flush=True)
    settings = {name: value for name, value in vars(arguments).items() if name != "text"}
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__, "vocabulary": len(corpus.vocabulary)}
    print(json.dumps({**machine, **settings, "results": rows}))


if __name__ == "__main__":
    main()
