"""Runs in one or two bytes per weight: what is stored, what reads them, and what they refuse."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from recurra.checkpoint import RunDirectory
from recurra.engine.quantised import WEIGHTS, dequantise_all, quantise_all
from recurra.errors import ConfigError, RunError
from recurra.evaluation import evaluate
from recurra.export import export_run
from recurra.models import LanguageModel, QuantisedLanguageModel
from recurra.training import Run, Trainer, adapt, adapted_config


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_a_run_and_its_small_form(trained, tmp_path, kind):
    exported = export_run(trained, kind, tmp_path / "small")
    small, wide = Run.load(exported.folder, small=True), Run.load(exported.folder)
    assert small.stored == wide.stored == kind
    assert isinstance(small.model, QuantisedLanguageModel)
    assert isinstance(wide.model, LanguageModel)
    assert small.config == trained.config
    assert small.tokenizer.digest == trained.tokenizer.digest
    expected = dequantise_all(quantise_all(trained.model.state_dict(), kind, dict(trained.model.named_parameters())))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in wide.model.state_dict().items())
    scores = [evaluate(run.model, trained.data.valid).loss_nats for run in (small, wide, trained)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
    assert scores[0] == pytest.approx(scores[2], rel=2e-2)
    assert exported.facts["bytes_after"] < exported.facts["bytes_before"] / {"bf16": 1.5, "int8": 2}[kind]
    stored = load_file(exported.folder / "model.safetensors")
    assert exported.facts["matrices"] == sum(tensor.dtype == WEIGHTS[kind] for tensor in stored.values())
    assert [len(small.data.train), small.metrics] == [len(trained.data.train), trained.metrics]


def test_no_training_of_any_kind(trained, tmp_path):
    folder = export_run(trained, "int8", tmp_path / "small").folder
    with pytest.raises(RunError, match="without checkpoints; resume the run that it was exported from"):
        Trainer.resume(folder)
    run = Run.load(folder)
    with pytest.raises(RunError, match="in int8, which are for inference; train the run that it was made from"):
        adapted_config(run)
    with pytest.raises(RunError, match="for inference"):
        adapt(run, run.config)
    with pytest.raises(RunError, match="in int8 already; export the run that it was made from"):
        export_run(run, "bf16", tmp_path / "smaller")
    assert not (tmp_path / "smaller").exists()


def test_a_float32_run_may_be_asked_for_in_few_bytes_and_stays_what_it_is(trained):
    run = Run.load(trained.path, small=True)
    assert isinstance(run.model, LanguageModel)
    assert run.stored == "float32"


def test_damaged_scales_are_named(trained, tmp_path):
    folder = export_run(trained, "int8", tmp_path / "small").folder
    tensors = load_file(folder / "model.safetensors")
    del tensors["bias"], tensors["projection.scale"]
    RunDirectory(folder).write_model(tensors)  # under a digest that is right
    for small in (True, False):
        with pytest.raises(
            RunError, match=r"model\.safetensors is damaged: the matrix 'projection' is int8, but the scales"
        ):
            Run.load(folder, small=small)
    tensors["projection"] = tensors["projection"].float()
    RunDirectory(folder).write_model(tensors)  # under a digest that is right
    with pytest.raises(RunError, match="'bias' is nothing"):
        Run.load(folder, small=True)


def test_weights_that_are_no_numbers(trained, tmp_path):
    tensors = load_file(trained.directory.model_file)
    folder = tmp_path / "copy"
    export_run(trained, "hf", folder)
    tensors["projection"][0, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ConfigError, match="not a finite number"):
        export_run(Run.load(folder), "int8", tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_a_classifier_in_few_bytes(classifier, tmp_path):
    small = Run.load(export_run(classifier, "int8", tmp_path / "small").folder, small=True)
    assert small.stored == "int8"
    texts = ["the cat sat", "a dog ran"]
    ours, theirs = (run.model.predict(texts) for run in (small, classifier))
    assert [answer.label for answer in ours] == [answer.label for answer in theirs]
