"""Run directories that storage, chance or malice have changed.

What could go wrong: a file is cut, flipped or swapped and nobody notices, so that a model answers with wrong weights or
training goes on from another run's state; or damage is noticed deep in a library, as a traceback. And somebody who can
write a run directory can also write its digests, so what lies beneath them must bear anything, too, and run no code.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mutations import cases, mutated, survives

from recurra.checkpoint import RunDirectory
from recurra.checkpoint.manifest import sealed
from recurra.data import Corpus
from recurra.data.examples import Dataset, Examples
from recurra.figures import verdict
from recurra.models import LanguageModel, SequenceClassifier
from recurra.training import Reporter, Run, Trainer

FILES = {
    "lm": (
        "config.toml", "model.safetensors", "tokenizer.json", "manifest.json", "metrics.jsonl", "spare/manifest.json",
        "tokens/corpus.json", "tokens/tokenizer.json", "tokens/train/index.json", "tokens/train/00000.bin",
        "training/*/manifest.json", "training/*/values.json", "training/*/tensors.safetensors",
    ),
    "classify": (
        "config.toml", "input.json", "target.json", "input.tokenizer.json", "examples/dataset.json",
        "examples/train/examples.jsonl", "examples/input.json", "training/*/values.json",
    ),
}  # fmt: skip
CASES = [(task, name) for task, names in FILES.items() for name in names]


@cache
def whole_run(task: str) -> Path:
    torch.manual_seed(0)
    path = Path(tempfile.mkdtemp(prefix="recurra-hostile-")) / task
    settings = {"out": path, "reporter": Reporter(), "steps": 3, "batch": 4, "threads": 1, "backend": "loop"}
    if task == "lm":
        corpus = Corpus.from_text("the cat sat on the mat\n" * 30)
        Trainer(LanguageModel(corpus.vocabulary, hidden=4), corpus, backprop="8", **settings).fit()
    else:
        texts = [f"a {word} day" for word in ("good", "bad", "warm", "cold") * 5]
        data = Dataset.from_examples(Examples(texts, ["x", "y"] * 10), task="classify")
        Trainer(SequenceClassifier(data.input, data.target, hidden=4), data, **settings).fit()
    return path


def read_all(path: Path) -> None:
    """Read everything that any command reads."""
    run = Run.load(path)
    _ = run.data, run.metrics, run.verdict
    if run.config.task == "lm":
        run.model.generate("the", tokens=3)
    else:
        run.model.predict(["a good day"])


def resume(path: Path) -> None:
    Trainer.resume(path, reporter=Reporter()).fit()


def reseal(path: Path) -> None:
    """Write digests anew, as somebody would who wants the damage believed."""
    RunDirectory(path).write_manifest()
    for manifest in path.glob("training/*/manifest.json"):
        content = json.loads(manifest.read_bytes())
        content.pop("seal", None)
        for name in content["sha256"]:
            data = manifest.with_name(name).read_bytes()
            content["bytes"][name] = len(data)
            content["sha256"][name] = hashlib.sha256(data).hexdigest()
        manifest.write_bytes(sealed(content))


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Curves take longer than all else here."""
    monkeypatch.setattr("recurra.training.trainer.draw_report", lambda directory: verdict(directory.read_metrics()))


def damaged_copy(task: str, name: str, data: bytes, folder: str) -> Path:
    copy = Path(folder) / "run"
    shutil.copytree(whole_run(task), copy)
    (max(copy.glob(name)) if "*" in name else copy / name).write_bytes(data)
    return copy


def original(task: str, name: str) -> bytes:
    return (max(whole_run(task).glob(name)) if "*" in name else whole_run(task) / name).read_bytes()


def bears(task: str, name: str, *steps: Callable[[Path], object]) -> None:
    """Damage a file of a run in many ways, and follow each with some steps that must survive it."""
    whole = original(task, name)

    @cases(2)
    @given(st.data())
    def check(choose):
        data = choose.draw(mutated(whole))
        with tempfile.TemporaryDirectory() as folder:
            copy = damaged_copy(task, name, data, folder)
            for step in steps:
                survives(lambda step=step: step(copy))

    check()


@pytest.mark.parametrize(("task", "name"), CASES, ids=str)
def test_damage_is_noticed_in_one_line(task, name):
    bears(task, name, read_all, resume)


@pytest.mark.parametrize(
    ("task", "name"), [c for c in CASES if "manifest" not in c[1] and "model" not in c[1]], ids=str
)
def test_damage_under_digests_that_were_made_for_it_is_borne(task, name):
    bears(task, name, reseal, read_all, resume)
