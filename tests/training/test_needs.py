"""Out of memory in training: one line with what takes most, and a run that goes on."""

import pytest
import torch

from recurra.data import Corpus
from recurra.errors import OutOfMemoryError
from recurra.inspection.kept import kept_bytes
from recurra.models import LanguageModel
from recurra.training import Reporter, Trainer, TrainingConfig
from recurra.training.needs import batch_shape, describe_needs, needs

TEXT = "she sells sea shells by the sea shore, and the shells she sells are sea shells for sure\n" * 60


def trainer(out, **settings):
    corpus = Corpus.from_text(TEXT, tokenizer="char", name="shells")
    torch.manual_seed(0)
    model = LanguageModel(corpus.vocabulary, cell="lstm", hidden=8)
    settings = {"batch": 4, "backprop": "13", "steps": 20, "threads": 1, "device": "cpu", **settings}
    return Trainer(model, corpus, out=out, reporter=Reporter(), **settings)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_what_is_kept_is_about_what_the_formula_says(cell, layers, tmp_path):
    corpus = Corpus.from_text(TEXT, tokenizer="char")
    model = LanguageModel(corpus.vocabulary, cell=cell, hidden=64, layers=layers, dropout=0.1)
    made = Trainer(model, corpus, out=tmp_path / "run", batch=8, backprop="64", steps=1, reporter=Reporter())
    batch = made.task.stream(0)[0]
    assert batch_shape(batch) == (64, 8)
    kept = next(need for need in needs(model, made.config, 64, 8) if "steps kept" in need.formula)
    measured = kept_bytes(made.task.objective(batch, None, 0.0).loss, apart_from=model.parameters())
    assert 0.6 * measured < kept.bytes < 1.4 * measured


def test_weights_are_counted_by_hand():
    vocabulary = Corpus.from_text(TEXT, tokenizer="char").vocabulary
    model = LanguageModel(vocabulary, hidden=8)
    numbers = sum(p.numel() for p in model.parameters())
    for settings, copies in (({}, 4), ({"optimizer": "sgd"}, 2), ({"optimizer": "rmsprop", "average": 0.9}, 4)):
        found = needs(model, TrainingConfig(**settings), 1, 1)
        assert next(need.bytes for need in found if need.formula.startswith("weights")) == 4 * copies * numbers


def test_the_largest_comes_first_with_what_to_lower():
    vocabulary = Corpus.from_text(TEXT, tokenizer="char").vocabulary
    wide, small = LanguageModel(vocabulary, hidden=256), LanguageModel(vocabulary, hidden=8)
    told = describe_needs(needs(wide, TrainingConfig(), 1, 1))
    assert told.index("for weights") < told.index("Lower --hidden")
    told = describe_needs(needs(small, TrainingConfig(), 4096, 64))
    assert "for steps kept for back-propagation 4,096 steps x 64 rows" in told
    assert "Lower --batch (64) or --backprop (to checkpointed:" in told
    told = describe_needs(needs(small, TrainingConfig(backprop="checkpointed:1MiB:4096"), 4096, 64))
    assert "1 MiB for steps kept" in told


def test_training_that_runs_out_can_go_on(tmp_path, monkeypatch):
    trainer(tmp_path / "whole").fit()
    cut = trainer(tmp_path / "cut")
    real = cut.task.objective

    def short(batch, state, progress):
        return torch.empty(2**45) if cut.step == 7 else real(batch, state, progress)

    monkeypatch.setattr(cut.task, "objective", short)
    with pytest.raises(OutOfMemoryError, match=r"out of memory \(.*13 steps x 4 rows.*Lower .*--resume") as caught:
        cut.fit()
    assert "\n" not in str(caught.value)
    Trainer.resume(tmp_path / "cut", reporter=Reporter()).fit()
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]


def test_a_run_that_never_began_leaves_nothing(tmp_path, monkeypatch):
    cut = trainer(tmp_path / "cut")
    monkeypatch.setattr(cut.task, "layers", lambda: torch.empty(2**45))
    with pytest.raises(OutOfMemoryError, match="out of memory"):
        cut.fit()
    assert not (tmp_path / "cut").exists()
