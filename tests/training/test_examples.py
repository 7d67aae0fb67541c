"""Tasks on examples: same bits, exact resuming, every setting counts, each kind of input and target."""

import os
import signal

import numpy as np
import pytest
import torch
from several import examples, sentences

from recurra.data import Dataset, Examples
from recurra.errors import ConfigError
from recurra.training import TASKS, ExamplesConfig, Reporter, Run, Trainer, config_from_mapping


class StopAt(Reporter):
    """Presses Ctrl-C after a given step."""

    def __init__(self, step):
        self.at = step

    def step(self, step, loss_nats, grad_norm):
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def dataset(task):
    return Dataset.from_examples(examples(task, 40), task=task, name=task)


def trainer(task, out, *, reporter=None, model=None, **settings):
    data = dataset(task)
    torch.manual_seed(settings.get("seed", 0))
    small = {"hidden": 8, "embedding": 6, **(model or {})}
    network = TASKS[task].model_class(data.input, data.target, **small)
    settings = {"batch": 7, "epochs": 3, "threads": 1, "lr": 0.01, **settings}
    return Trainer(network, data, out=out, reporter=reporter or Reporter(), **settings)


def everything(path):
    run = Run.load(path)
    generation, _ = run.directory.read_generation()
    used = {f"used.{name}": tensor for name, tensor in run.model.state_dict().items()}
    files = run.directory.metrics_file.read_bytes(), run.directory.samples_file.read_bytes()
    return {**generation.tensors, **used}, files


def assert_same(a, b):
    (tensors_a, files_a), (tensors_b, files_b) = everything(a), everything(b)
    assert files_a == files_b
    assert tensors_a.keys() == tensors_b.keys()
    for name, tensor in tensors_a.items():
        assert torch.equal(tensor, tensors_b[name]), name


TASK_NAMES = ("classify", "tag", "translate", "caption")


@pytest.mark.parametrize("task", TASK_NAMES)
def test_resuming_in_mid_epoch_equals_never_having_stopped(tmp_path, task):
    settings = {"average": 0.9, "sampling": 0.5 if task in ("translate", "caption") else 0.0}
    trainer(task, tmp_path / "whole", **settings).fit()
    with pytest.raises(KeyboardInterrupt):
        trainer(task, tmp_path / "cut", reporter=StopAt(8), **settings).fit()
    Trainer.resume(tmp_path / "cut", reporter=Reporter()).fit()
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_run_answers_as_its_model_does_and_is_assessed(tmp_path, task):
    run = trainer(task, tmp_path / "run").fit()
    data = dataset(task)
    said = [prediction.said for prediction in run.model.predict(data.valid.inputs)]
    rows = run.answering_task.answer(run, data.valid)
    assert [row.get("label", row.get("labels", row.get("text"))) for row in rows] == said
    assessment = run.assess()
    assert assessment.task == task
    assert assessment.baselines
    assert all(run.directory.report.glob("valid-*.png"))
    assert {"train_examples": 36, "valid_examples": 4}.items() <= run.answering_task.facts(run).items()


def test_validation_counts_each_example_once(tmp_path):
    fitted = trainer("tag", tmp_path / "run")
    run = fitted.fit()
    right = total = 0
    for prediction, truth in zip(run.model.predict(run.data.valid.inputs), run.data.valid.targets, strict=True):
        right += sum(a == b for a, b in zip(prediction.labels, truth, strict=True))
        total += len(truth)
    best = min((row for row in run.metrics if "valid_loss_nats" in row), key=lambda row: row["valid_loss_nats"])
    assert best["valid_accuracy"] == pytest.approx(right / total)


def test_inputs_are_measured_before_the_first_step_and_kept(tmp_path):
    sounds = [np.random.default_rng(n).normal(0, 0.1, 900).astype(np.float32) for n in range(12)]
    data = Dataset.from_examples(Examples(sounds, ["a", "b"] * 6), task="classify", rate=8000, mels=8)
    model = TASKS["classify"].model_class(data.input, data.target, hidden=4)
    run = Trainer(model, data, out=tmp_path / "run", epochs=1, reporter=Reporter()).fit()
    assert torch.equal(run.model.encoder.frontend.mean, model.encoder.frontend.mean)
    assert model.encoder.frontend.mean.abs().sum() > 0


def test_every_epoch_has_as_many_steps(tmp_path):
    task = trainer("translate", tmp_path / "run", epochs=4, batch=7).task
    assert task.count_steps() == sum(len(task.stream(epoch)) for epoch in range(4))


def test_settings_must_agree_about_the_task():
    with pytest.raises(ConfigError, match="make them agree"):
        config_from_mapping({"task": "classify", "data": {"task": "tag", "source": "x"}}, "config.toml")


def test_sampling_is_for_models_that_write(tmp_path):
    with pytest.raises(ConfigError, match="reads none of its own"):
        trainer("classify", tmp_path / "run", sampling=0.5)


def test_model_and_examples_must_belong_together(tmp_path):
    data, other = dataset("classify"), dataset("caption")
    model = TASKS["classify"].model_class(data.input, data.target, hidden=4)
    with pytest.raises(ConfigError, match="built for other examples"):
        Trainer(model, other, out=tmp_path / "run")
    few = Dataset.from_examples(Examples(sentences(40)[:20], examples("classify", 40).targets[:20]), task="classify")
    extended = Dataset.from_examples(
        Examples(["quite other words", *sentences(40)], ["other", *examples("classify", 40).targets]), task="classify"
    )
    for one, another in ((few, extended), (extended, few)):
        with pytest.raises(ConfigError, match="built for other examples"):
            Trainer(TASKS["classify"].model_class(one.input, one.target, hidden=4), another, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="does not know how to train a Linear"):
        Trainer(torch.nn.Linear(1, 1), data)


CHANGES = {
    "batch": 5, "optimizer": "adam", "lr": 0.02, "weight_decay": 0.5, "beta2": 0.9, "schedule": "constant",
    "clip": 0.01, "clip_value": 1e-4, "epochs": 2, "steps": 9, "average": 0.5, "keep": "last", "seed": 1,
    "backprop": "1", "sampling": 0.9, "patience": 1,
}  # fmt: skip
ELSEWHERE = {"threads", "device", "backend", "retries"}
"""Settings that change no bits that are promised, or only where training goes wrong."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "run"
    trainer("translate", path, schedule="cosine").fit()
    return path


@pytest.mark.parametrize("field", CHANGES)
def test_every_setting_of_training_changes_something(tmp_path, base, field):
    if field == "patience":
        stopped = trainer("translate", tmp_path / "run", lr=1e-9, patience=1, epochs=50)
        stopped.fit()
        assert stopped.epoch < 50
        return
    settings = {"schedule": "cosine"}
    if field == "keep":  # after so long, the last weights are not the best
        settings, base = {"lr": 0.05, "schedule": "constant", "epochs": 16}, tmp_path / "base"
        trainer("translate", base, **settings).fit()
    trainer("translate", tmp_path / "run", **{**settings, field: CHANGES[field]}).fit()
    (tensors, files), (base_tensors, base_files) = everything(tmp_path / "run"), everything(base)
    assert files != base_files or any(not torch.equal(t, base_tensors[name]) for name, t in tensors.items())


def test_every_setting_of_training_is_accounted_for():
    assert set(CHANGES) | ELSEWHERE == set(ExamplesConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sampling": 1.5}, "sampling"),
        ({"backend": "llvm,loop"}, "one for all layers"),
        ({"backprop": "sideways"}, "sideways"),
        ({"ar": 1.0}, "unknown setting 'ar'"),
        ({"backprop": "random:4"}, "is for a stream"),
        ({"backprop": "online"}, "is for a stream"),
    ],
)
def test_bad_settings_are_refused_when_built(settings, says):
    with pytest.raises((ConfigError, ValueError), match=says):
        ExamplesConfig.of(**settings)
