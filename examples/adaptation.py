"""What knowing one text is worth to another: fine-tuning beside training from scratch, at every budget.

    python examples/adaptation.py war-and-peace.txt timemachine.txt
    python examples/adaptation.py war-and-peace.txt timemachine.txt --run runs/adaptation --budgets 1 8 --ablate 1 8

A word model learns OLD, or is taken from an earlier run with --run. Its vocabulary grows by the words of NEW, the last
tenth of which is held back. Then, for each budget of epochs, the model that knows OLD and one of the same sizes from
scratch learn NEW with that vocabulary, each with AdamW and with SGD and a schedule as long as the budget.

From scratch one would take the words of NEW alone. The perplexity of that counts other tokens as unknown and does not
compare; so all are also measured on the words that the smaller vocabulary knows, with the better optimizer.

With --ablate, the parts of fine-tuning are left out one by one at some budgets. Tables go to stdout, the curve to
--out, all numbers to --json, a file that grows as they are made.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import recurra as rc
from recurra.evaluation import surprisals
from recurra.figures import plot_budgets
from recurra.training import FINE_TUNING, Reporter, Run

OLD: dict[str, Any] = {"batch": 20, "backprop": "35", "epochs": 3, "weight_decay": 0.0}
NEW: dict[str, Any] = {"batch": 20, "backprop": "35"}
SIZES = {"hidden": 200, "layers": 2, "tie": True, "dropout": 0.2}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "AdamW": {"lr": 5e-3},
    "SGD": {"optimizer": "sgd", "lr": 20.0, "clip": 0.25, "weight_decay": 0.0},
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "all layers from the start": {"unfreeze": 0.0},
    "one rate for all layers": {"layer_decay": 1.0},
    "neither": {"unfreeze": 0.0, "layer_decay": 1.0},
    "neither, cosine schedule": {"unfreeze": 0.0, "layer_decay": 1.0, "schedule": "cosine"},
}


class Bench:
    """The texts, the model of the old one, and where runs go."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder, self.number = args, folder, 0
        self.common = {"threads": args.threads, "reporter": Reporter()}
        self.old = Run.load(args.run) if args.run else self._learn_old()
        valid = args.valid or 0.1
        self.corpus = rc.Corpus.from_file(args.new, tokenizer=self.old.tokenizer, grow=True, valid=valid)
        self.own = rc.Corpus.from_file(args.new, tokenizer="word", valid=valid)

    def _learn_old(self) -> Run:
        corpus = rc.Corpus.from_file(self.args.old, tokenizer="word", vocab=self.args.vocab, valid=0.05)
        torch.manual_seed(0)
        model = rc.LanguageModel(corpus.vocabulary, **self._sizes())
        return self.train(model, corpus, **OLD)

    def _sizes(self) -> dict[str, Any]:
        return {**SIZES, **({"hidden": 12} if self.args.quick else {})}

    def train(self, model: rc.LanguageModel, corpus: rc.Corpus, **settings: Any) -> Run:
        self.number += 1
        out = self.folder / str(self.number)
        return rc.Trainer(model, corpus, out=out, **self.common, **settings).fit()

    def tune(self, epochs: int, seed: int, **settings: Any) -> Run:
        """Fine-tune the old model."""
        settings = {**NEW, **FINE_TUNING, **settings}
        model = self.old.model.grown(self.corpus.vocabulary)
        return self.train(model, self.corpus, epochs=epochs, seed=seed, **settings)

    def scratch(self, corpus: rc.Corpus, epochs: int, seed: int, **settings: Any) -> Run:
        """Train the same sizes from scratch."""
        torch.manual_seed(seed)
        model = rc.LanguageModel(corpus.vocabulary, **self._sizes())
        return self.train(model, corpus, epochs=epochs, seed=seed, **{**NEW, **settings})

    def on_known_words(self, run: Run) -> float:
        """Return the perplexity on the held-back words that the smaller vocabulary knows."""
        bits = surprisals(run.model, run.data.valid.ids).bits[1:]
        is_known = self.own.valid.ids[1:] != self.own.tokenizer.unknown
        return float(np.exp(bits[is_known].mean() * math.log(2)))


def perplexity(run: Run) -> float:
    """Return that of the weights that the run keeps: the best of its validations."""
    return min(row["valid_perplexity"] for row in run.metrics if row.get("valid_perplexity"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tuning beside training from scratch.")
    parser.add_argument("old", type=Path, help="the text that the first model learns")
    parser.add_argument("new", type=Path, help="the text that it then goes on to")
    parser.add_argument("--run", type=Path, help="a run that has learned OLD by words already")
    parser.add_argument("--valid", help="what of NEW is held back: a share or a file")
    parser.add_argument("--vocab", type=int, default=10_000, help="words of OLD")
    parser.add_argument("--budgets", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], help="epochs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ablate", type=int, nargs="*", default=[], metavar="BUDGET")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("adaptation.png"))
    parser.add_argument("--json", type=Path, help="all numbers")
    parser.add_argument("--quick", action="store_true", help="a tiny model and two budgets, to see that it runs")
    args = parser.parse_args()
    if args.quick:
        args.budgets, args.ablate, args.vocab = [1, 2], [1], None
        OLD["epochs"] = 1
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        known, all_tokens, own = (len(t) for t in (bench.old.tokenizer, bench.corpus.tokenizer, bench.own.tokenizer))
        print(f"{known:,} words known, {all_tokens - known:,} new; {own:,} from scratch alone")
        lines = compare(bench)
        title = f"{args.new.stem} after {args.old.stem}"
        subtitle = f"perplexity on the held-back words, of {all_tokens:,}; each budget with a schedule of its own"
        plot_budgets(lines, args.out, title=title, subtitle=subtitle, budget="epochs on the new text")
        for budget in args.ablate:
            ablate(bench, budget)


def compare(bench: Bench) -> Mapping[str, Mapping[int, list[float]]]:
    """Print the table of budgets, and return the perplexities by way, budget and seed."""
    ways: dict[str, Callable[..., Run]] = {
        "scratch, own words": partial(bench.scratch, bench.own),
        "scratch": partial(bench.scratch, bench.corpus),
        "tuned": bench.tune,
    }
    lines: dict[str, dict[int, list[float]]] = {f"{way}, {o}": {} for way in ("scratch", "tuned") for o in OPTIMIZERS}
    print(f"epochs  {'  '.join(lines)}  | on words that scratch knows: its own  scratch    tuned")
    for budget in bench.args.budgets:
        known: dict[str, list[float]] = {way: [] for way in ways}
        for seed in bench.args.seeds:
            for way, train in ways.items():
                best = math.inf
                for optimizer, settings in OPTIMIZERS.items():
                    run, name = train(budget, seed, **settings), f"{way}, {optimizer}"
                    seen = bench.on_known_words(run)
                    best = min(best, seen)
                    record(bench, "budget", budget, seed, name, run, on_known_words=seen)
                    if name in lines:
                        lines[name].setdefault(budget, []).append(perplexity(run))
                known[way].append(best)
        left = "  ".join(f"{statistics.mean(values[budget]):{len(name)}.1f}" for name, values in lines.items())
        right = "  ".join(f"{statistics.mean(values):7.1f}" for values in known.values())
        print(f"{budget:6}  {left}  | {'':28}{right}", flush=True)
    return lines


def ablate(bench: Bench, budget: int) -> None:
    """Print what fine-tuning is without each of its parts."""
    print(f"fine-tuned for {budget} epochs")
    for name, changes in ABLATIONS.items():
        run = bench.tune(budget, bench.args.seeds[0], **changes)
        record(bench, "ablation", budget, bench.args.seeds[0], name, run)
        print(f"  {name:28}{perplexity(run):8.1f}", flush=True)


def record(bench: Bench, what: str, budget: int, seed: int, name: str, run: Run, **more: float) -> None:
    """Add a line to the file of numbers."""
    if bench.args.json is not None:
        row = {"what": what, "epochs": budget, "seed": seed, "name": name, "perplexity": perplexity(run), **more}
        with bench.args.json.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
