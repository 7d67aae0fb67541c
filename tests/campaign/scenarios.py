"""What is trained while it is killed: every policy of back-propagation, both partitions, models of two tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from recurra.data import Corpus
from recurra.data.examples import Dataset, Examples
from recurra.models import ClassifierConfig, LanguageModel, ModelConfig, SequenceClassifier
from recurra.training import Reporter, Trainer

__all__ = ["SCENARIOS", "make_trainer"]

TEXT = "she sells sea shells by the sea shore, and the shells she sells are sea shells for sure\n" * 12
WORDS = ("good", "fine", "poor", "bad", "warm", "cold", "wet", "dry")

LANGUAGE: dict[str, dict[str, Any]] = {
    "window": {"backprop": "9"},
    "random-partition": {"backprop": "7", "partition": "random", "average": 0.9},
    "random-full": {"backprop": "full:14", "partition": "random", "optimizer": "sgd", "lr": 0.5},
    "random-checkpointed": {"backprop": "checkpointed:60KB:30", "partition": "random", "schedule": "onecycle"},
    "truncated": {"backprop": "truncated:5,10", "optimizer": "rmsprop", "schedule": "plateau"},
    "random-windows": {"backprop": "random:9", "schedule": "slanted"},
    "unbiased": {"backprop": "unbiased:8", "optimizer": "adam"},
    "online": {"backprop": "online:9", "cell": "mingru"},
    "full": {"backprop": "full:18", "keep": "last"},
    "checkpointed": {"backprop": "checkpointed:60KB:30", "layers": 2, "unfreeze": 0.7, "layer_decay": 1.5},
    "words-and-patience": {"backprop": "9", "tokenizer": "word", "patience": 1, "schedule": "constant", "lr": 0.05},
    "no-validation": {"backprop": "9", "valid": 0.0, "dropout": 0.3},
}
CLASSIFIER: dict[str, dict[str, Any]] = {
    "classify": {"backprop": "full"},
    "classify-window": {"backprop": "4", "optimizer": "sgd", "lr": 0.3, "keep": "last"},
    "classify-checkpointed": {"backprop": "checkpointed:60KB", "average": 0.8, "schedule": "plateau"},
}
SCENARIOS = [*LANGUAGE, *CLASSIFIER]


def make_trainer(scenario: str, out: Path, reporter: Reporter) -> Trainer:
    """Build what a scenario trains, from nothing: the same in every process."""
    torch.manual_seed(7)
    if scenario in LANGUAGE:
        settings = {"batch": 3, "epochs": 2, "threads": 1, **LANGUAGE[scenario]}
        tokenizer, valid = settings.pop("tokenizer", "char"), settings.pop("valid", 0.1)
        names = set(settings) & set(ModelConfig.__dataclass_fields__)
        model = {"cell": "lstm", "hidden": 8, "dropout": 0.1, **{name: settings.pop(name) for name in names}}
        corpus = Corpus.from_text(TEXT, tokenizer=tokenizer, valid=valid, name="shells")
        network = LanguageModel(corpus.vocabulary, **model)
        return Trainer(network, corpus, out=out, reporter=reporter, **settings)
    settings = {"batch": 5, "epochs": 3, "threads": 1, **CLASSIFIER[scenario]}
    texts = [f"{WORDS[n % 8]} {WORDS[n // 3 % 8]} {WORDS[n // 5 % 8]} day" for n in range(48)]
    labels = ["nice" if n % 8 in (0, 1, 4, 7) else "not" for n in range(48)]
    data = Dataset.from_examples(Examples(texts, labels), task="classify", valid=0.25, name="days")
    classifier = SequenceClassifier(data.input, data.target, ClassifierConfig(hidden=8, embedding=6, dropout=0.1))
    return Trainer(classifier, data, out=out, reporter=reporter, **settings)
