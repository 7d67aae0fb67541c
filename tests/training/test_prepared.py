"""Training on a store that was prepared: referred to, not copied, read where it is read; documents in another order."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recurra.checkpoint import RunDirectory
from recurra.data import Corpus, DataConfig, prepare, token_counts
from recurra.data.shards import Shards
from recurra.errors import ConfigError, CorpusError, RecurraError
from recurra.models import LanguageModel
from recurra.training import Reporter, Run, Trainer
from recurra.training.language import make_stream

LINES = [f"document {n} says {n * n} and then {'la ' * (n % 7)}to the end of it" for n in range(40)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recurra.data.preparing.reading.CHUNK", 100)
        return prepare(folder / "a.jsonl", folder / "store", shard_tokens=150).path


class StopAt(Reporter):
    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, step: int, loss_nats: float, grad_norm: float) -> None:
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def trainer(corpus: Corpus, out: Path, *, reporter: Reporter | None = None, **settings: Any) -> Trainer:
    torch.manual_seed(0)
    model = LanguageModel(corpus.vocabulary, hidden=8)
    settings = {"batch": 3, "backprop": "9", "epochs": 2, "threads": 1, **settings}
    return Trainer(model, corpus, out=out, reporter=reporter or Reporter(), **settings)


def opened(store: Path) -> Corpus:
    return Corpus.build(DataConfig(source=str(store)))


def outcome(path: Path) -> tuple[bytes, dict[str, bytes]]:
    run = RunDirectory.open(path)
    return run.metrics_file.read_bytes(), {name: t.numpy().tobytes() for name, t in run.read_model().items()}


def test_a_run_refers_to_its_store_and_learns_what_it_would_have(tmp_path: Path, store: Path) -> None:
    trainer(opened(store), tmp_path / "run").fit()
    assert [path.name for path in (tmp_path / "run" / "tokens").iterdir()] == ["corpus.json"]
    trainer(Corpus.from_text(LINES), tmp_path / "memory").fit()
    assert outcome(tmp_path / "run") == outcome(tmp_path / "memory")
    assert token_counts(tmp_path / "run" / "tokens") == token_counts(tmp_path / "memory" / "tokens")


def test_a_run_whose_store_is_gone(tmp_path: Path, store: Path) -> None:
    shutil.copytree(store, tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        trainer(opened(tmp_path / "store"), tmp_path / "run", reporter=StopAt(5)).fit()
    index = tmp_path / "store" / "valid" / "index.json"
    before = index.read_bytes()
    index.write_bytes(before + b" ")
    with pytest.raises(CorpusError, match=r"store has changed since this run was trained on it; put the old one back"):
        Trainer.resume(tmp_path / "run")
    shutil.move(tmp_path / "store", tmp_path / "elsewhere")
    with pytest.raises(CorpusError, match=r"store that this run was trained on is gone; put it back there"):
        Trainer.resume(tmp_path / "run")
    run = Run.load(tmp_path / "run")
    assert run.model.generate(tokens=3, seed=1)
    assert type(run.model).__name__ == "LanguageModel"
    shutil.move(tmp_path / "elsewhere", tmp_path / "store")
    index.write_bytes(before)
    Trainer.resume(tmp_path / "run", reporter=Reporter()).fit()
    trainer(opened(store), tmp_path / "whole").fit()
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 2}', None])
def test_what_a_run_says_of_its_store_is_damaged(tmp_path: Path, store: Path, damage: str | None) -> None:
    opened(store).save(tmp_path / "tokens")
    file = tmp_path / "tokens" / "corpus.json"
    about = json.loads(file.read_bytes())
    file.write_text(json.dumps({**about, "store": {"path": 3}}) if damage is None else damage)
    for read in (Corpus.load, token_counts):
        with pytest.raises(CorpusError) as error:
            read(tmp_path / "tokens")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tokenizer": "word"}, "tokenizer char"),
        ({"vocab": 9}, "vocab None, not 9"),
        ({"valid": 0.2}, "valid 0.1, not"),
    ],
)
def test_a_store_is_what_it_was_prepared_to_be(store: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"was prepared with {said}.*; leave out --"):
        Corpus.build(DataConfig(source=str(store), **settings))
    assert len(Corpus.build(DataConfig(source=str(store), tokenizer="char", valid=0.1)).train)


def test_another_vocabulary(store: Path) -> None:
    other = Corpus.from_text("some other text").tokenizer
    with pytest.raises(ConfigError, match="has another vocabulary than the run; prepare it with --vocabulary"):
        Corpus.build(DataConfig(source=str(store)), tokenizer=other, grow=True)
    same = Corpus.load(store).tokenizer
    assert Corpus.build(DataConfig(source=str(store)), tokenizer=same, grow=True).store is not None


def test_training_touches_only_what_it_reads(tmp_path: Path, store: Path) -> None:
    corpus, taken = opened(store), list[int]()
    shards = corpus.train.shards
    assert shards.count > 5

    class Watched(Shards):
        def take(self, positions: np.ndarray) -> np.ndarray:
            taken.extend(positions.flatten().tolist())
            return super().take(positions)

        def stretch(self, start: int, stop: int) -> np.ndarray:
            raise AssertionError(f"read {start}:{stop}")

    corpus.train.shards = Watched(np.diff(shards.begin).tolist(), shards.dtype, shards.array)
    trainer(corpus, tmp_path / "run", steps=2, batch=2, shuffle=False).fit()
    # Two rows of two windows of nine, each with the token after; also the window by which the policy was checked.
    half = -(-len(corpus.train) // 2)
    assert set(taken) == {*range(19), *range(half, half + 19)}


@pytest.mark.parametrize("order", ["documents", "shards"])
def test_an_order_changes_what_is_learned_and_resumes(tmp_path: Path, store: Path, order: str) -> None:
    trainer(opened(store), tmp_path / "corpus").fit()
    trainer(opened(store), tmp_path / "whole", order=order).fit()
    assert outcome(tmp_path / "whole") != outcome(tmp_path / "corpus")
    with pytest.raises(KeyboardInterrupt):
        trainer(opened(store), tmp_path / "cut", order=order, reporter=StopAt(40)).fit()
    Trainer.resume(tmp_path / "cut", reporter=Reporter()).fit()
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_orders_differ_by_epoch_and_seed(tmp_path: Path, store: Path) -> None:
    corpus = opened(store)

    def tokens(epoch: int, seed: int, order: str = "documents") -> list[int]:
        config = trainer(corpus, tmp_path / "none", order=order, seed=seed).config
        stream = make_stream(corpus.train, config, epoch)
        return [token for batch in stream for token in batch.inputs.T.flatten().tolist()]

    found = [tokens(0, 0), tokens(1, 0), tokens(0, 1), tokens(0, 0, "shards"), tokens(0, 0, "corpus")]
    assert len({tuple(each) for each in found}) == 5
    assert tokens(1, 0) == found[1]


@pytest.mark.parametrize("settings", [{"partition": "random"}, {"shuffle": False}])
def test_an_order_that_would_not_be_read(tmp_path: Path, store: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="order 'documents' draws a new order in every epoch, but"):
        trainer(opened(store), tmp_path / "run", order="documents", **settings)


def test_one_document_has_no_order(tmp_path: Path) -> None:
    with pytest.raises(RecurraError, match="nothing to reorder"):
        trainer(Corpus.from_text("one text " * 30), tmp_path / "run", order="documents").fit()
