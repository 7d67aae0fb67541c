"""Write names by language, and let a judge say which language they are of.

    python examples/prepare_tasks.py names data/names prepared
    python examples/conditioned_names.py prepared/names.train.tsv prepared/names.test.tsv

A language model learns names behind the label of their language; a classifier, trained by itself on the same real
names, then judges what the model writes when it is asked for each language. For each temperature the script prints

    agreement    share of the names to which the judge gives the language that was asked for, the mean over languages
    as it is     the same for a judge who has not been told that all languages are asked for equally often
    of new ones  the agreement without names that stand in the training part under any language
    new          share of the names that do not stand in the training part
    different    share of the names that are no repetition

beside the same numbers of real names held back from both, and the agreement of a model that ignores what it is asked
for: one over the number of languages, whatever it writes.

Half of the real names are Russian, and a classifier of names learns that, too: what could be either, it calls Russian.
Here each language is asked for equally often, so the judge's probabilities are divided by the languages' shares in
training, by Bayes' rule, before the largest counts. No weight of the judge is changed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import recurra as rc
from recurra.models import generate_texts
from recurra.recipes import find_recipe

LONGEST = 40


def train(recipe: str, table: str, out: str, **settings: Any) -> rc.Run:
    """Train by a recipe on a table without names of columns: text, tab, label."""
    config = find_recipe(recipe).with_settings(source=table, **settings)
    task = rc.training.TASKS[config.task]
    data = task.make_data(config)
    torch.manual_seed(config.training.seed)
    model = task.make_model(config, data)
    return rc.Trainer(model, data, out=out, config=config.training, recipe=recipe).fit()


def write(model: rc.LanguageModel, count: int, temperature: float, seed: int) -> dict[str, list[str]]:
    """Write names of each language, every one drawn by itself."""
    return {
        label: generate_texts(
            model, samples=count, tokens=LONGEST, seed=1000 * seed + n, temperature=temperature, condition=label
        )
        for n, label in enumerate(sorted(model.vocabulary.labels))
    }


class Judge:
    """A classifier, and how often each language came in its training."""

    def __init__(self, model: rc.SequenceClassifier, trained_on: dict[str, list[str]]) -> None:
        self.model, self.labels = model, list(model.target.names)
        self.shares = np.array([len(trained_on[label]) for label in self.labels])

    def agreements(self, names: dict[str, list[str]], *, told: bool = True) -> dict[str, float]:
        """Return the share of each language's names that are given that language; an empty name is of none.

        Args:
            told: all languages are equally likely.
        """
        found = {}
        for label, texts in names.items():
            answers = self.model.predict([text for text in texts if text.strip()])
            said = [self.labels[np.argmax(each.probabilities / (self.shares if told else 1))] for each in answers]
            found[label] = said.count(label) / max(len(texts), 1)
        return found


def mean(shares: dict[str, float]) -> float:
    return sum(shares.values()) / len(shares)


def compare(judge: Judge, written: dict[str, list[str]], known: set[str]) -> dict[str, Any]:
    """Judge what was written, and count how much of it was copied or repeated."""
    new = {label: [text for text in texts if text not in known] for label, texts in written.items()}
    total = sum(map(len, written.values()))
    by_language = judge.agreements(written)
    return {
        "agreement": mean(by_language),
        "as it is": mean(judge.agreements(written, told=False)),
        "of new ones": mean(judge.agreements(new)),
        "new": sum(map(len, new.values())) / total,
        "different": sum(len(set(texts)) for texts in written.values()) / total,
        "by language": by_language,
    }


def read(table: str) -> dict[str, list[str]]:
    """Return the names of each language in a table."""
    names: dict[str, list[str]] = {}
    for line in Path(table).read_text(encoding="utf-8").splitlines():
        text, label = line.split("\t")
        names.setdefault(label, []).append(text)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description="Write names by language, and let a judge say of which they are.")
    parser.add_argument("train", help="table of names to train on: name, tab, language")
    parser.add_argument("test", help="table of names for the judge to be measured on")
    parser.add_argument("--count", type=int, default=50, help="names to write for each language")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.8, 0.5])
    parser.add_argument("--seed", type=int, default=0, help="of both trainings and of the draws")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="file for all numbers")
    parser.add_argument("--quick", action="store_true", help="tiny models and one epoch, to see that it runs")
    args = parser.parse_args()

    settings: dict[str, Any] = {"seed": args.seed, "threads": args.threads}
    if args.quick:
        settings |= {"hidden": 8, "embedding": 8, "epochs": 1}
    with tempfile.TemporaryDirectory() as folder:
        writer = train("names-by-language", args.train, f"{folder}/writer", **settings).model
        classifier = train("names", args.train, f"{folder}/judge", **settings).model
    trained_on = read(args.train)
    known = {name for names in trained_on.values() for name in names}
    judge, real = Judge(classifier, trained_on), read(args.test)

    found, written = {}, {}
    columns = ("agreement", "as it is", "of new ones", "new", "different")
    print("\n" + " ".join(["temperature ", *(f"{name:>11}" for name in columns)]))
    for source in [*args.temperatures, "real names"]:
        names = real if source == "real names" else write(writer, args.count, source, args.seed)
        written[source], found[source] = names, compare(judge, names, known)
        print(" ".join([f"{source:<12}", *(f"{found[source][name]:11.3f}" for name in columns)]))
    print(f"{'whatever':<12} {1 / len(real):11.3f}\n")
    shown, shares = args.temperatures[-1], found["real names"]["by language"]
    for label, texts in sorted(written[shown].items()):
        share = found[shown]["by language"][label]
        print(f"{label:<11} {share:.2f} (real {shares.get(label, 0):.2f})  {', '.join(texts[:6])}")
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
