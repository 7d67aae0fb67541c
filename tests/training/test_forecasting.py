"""Forecasting by the trainer: exact resuming, intervals corrected at the end, questions and answers."""

import os
import signal

import numpy as np
import pytest
import torch

from recurra.data import SeriesConfig, SeriesData
from recurra.errors import ConfigError, DataError
from recurra.models import Forecaster
from recurra.training import Reporter, Run, Trainer


class StopAt(Reporter):
    """Presses Ctrl-C after a given step."""

    def __init__(self, step):
        self.at = step

    def step(self, step, loss_nats, grad_norm):
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "waves.csv"
    random = np.random.default_rng(0)
    values = 10 + np.sin(np.arange(90) / 2) + random.normal(0, 0.1, 90)
    path.write_text("time,height\n" + "".join(f"{n},{value:.4f}\n" for n, value in enumerate(values)))
    return SeriesData.build(SeriesConfig(source=str(path), horizon=3, context=12, valid=20, test=15))


def trainer(data, out, *, reporter=None, model=None, **settings):
    torch.manual_seed(0)
    network = Forecaster(data.format, hidden=5, **(model or {}))
    settings = {"batch": 8, "epochs": 3, "lr": 0.01, "threads": 1, **settings}
    return Trainer(network, data, out=out, reporter=reporter or Reporter(), **settings)


def bits(path):
    run = Run.load(path)
    return {
        **run.directory.read_generation()[0].tensors,
        **run.model.state_dict(),
    }, run.directory.metrics_file.read_bytes()


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ({"dropout": 0.2}, {"average": 0.9}),
        ({"feed": "sample"}, {"sampling": 0.5}),
        ({"distribution": "quantiles"}, {}),
    ],
    ids=["mean", "sample", "quantiles"],
)
def test_resuming_in_mid_epoch_equals_never_having_stopped(data, tmp_path, model, settings):
    trainer(data, tmp_path / "whole", model=model, **settings).fit()
    with pytest.raises(KeyboardInterrupt):
        trainer(data, tmp_path / "cut", model=model, reporter=StopAt(7), **settings).fit()
    Trainer.resume(tmp_path / "cut", reporter=Reporter()).fit()
    (whole, metrics), (cut, again) = bits(tmp_path / "whole"), bits(tmp_path / "cut")
    assert metrics == again
    assert all(torch.equal(tensor, cut[name]) for name, tensor in whole.items())


def test_intervals_are_corrected_once_training_is_over(data, tmp_path):
    run = trainer(data, tmp_path / "run").fit()
    plain = Forecaster(data.format, hidden=5)
    plain.load_state_dict(run.model.state_dict())
    plain.levels.copy_(Forecaster(data.format, hidden=5).levels)
    assert not torch.equal(plain.levels, run.model.levels)
    plain.calibrate(data.valid)
    torch.testing.assert_close(plain.levels, run.model.levels)
    assert torch.equal(Run.load(run.path).model.levels, run.model.levels)


def test_many_epochs_show_windows_again(data, tmp_path):
    trainer(data, tmp_path / "run", epochs=23, batch=64).fit()
    assert len(Run.load(tmp_path / "run").directory.samples_file.read_text().split("---")) == 24


def test_questions_and_answers(data, tmp_path):
    run = trainer(data, tmp_path / "run").fit()
    assessment = run.assess(name="test")
    assert assessment.examples == 15 - 3 + 1
    assert "last value" in assessment.baselines
    assert (run.directory.report / "test-forecast.png").exists()
    questions = run.read(data.config.source, answered=False)
    rows = run.answering_task.answer(run, questions)
    assert [row["time"] for row in rows] == ["90", "91", "92"]
    (forecast,) = run.model.predict(data.series)
    assert [row["mean"] for row in rows] == pytest.approx(forecast.mean[:, 0].tolist())
    assert run.answering_task.facts(run)["train_windows"] == 55 - 12 - 3 + 1


def test_model_and_series_must_belong_together(data, tmp_path):
    other = SeriesData.build(SeriesConfig(source=data.config.source, horizon=2, context=12))
    with pytest.raises(ConfigError, match="built for other series"):
        Trainer(Forecaster(data.format), other)
    with pytest.raises(ConfigError, match="needs feed 'sample'"):
        trainer(data, tmp_path / "run", sampling=0.5)
    run = trainer(data, tmp_path / "run", epochs=1).fit()
    halves = tmp_path / "halves.csv"
    halves.write_text("time,height\n" + "".join(f"{n / 2},{n % 7}\n" for n in range(40)))
    with pytest.raises(DataError, match=r"0\.5 apart"):
        run.read(str(halves))
    with pytest.raises(DataError, match="the test part"):
        trainer(other, tmp_path / "other", epochs=1).fit().assess(name="test")
