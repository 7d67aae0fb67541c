"""A report gathers the measures of a run; one that cannot be taken leaves a note and the rest."""

import math

import pytest
import torch

from recurra.data import Corpus
from recurra.engine import parse_policy
from recurra.errors import CorpusError, EngineError
from recurra.inspection import inspect_run, report
from recurra.models import LanguageModel
from recurra.training import Reporter, Trainer

MEASURES = ("unrolled", "flow", "spectrum", "behaviour", "units", "cost")
TEXT = "the cat sat on the mat, and the dog sat on the log\n" * 30


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    corpus = Corpus.from_text(TEXT, tokenizer="char", name="cats")
    model = LanguageModel(corpus.vocabulary, cell="gru", hidden=8)
    out = tmp_path_factory.mktemp("report") / "run"
    settings = {"batch": 2, "backprop": "8", "steps": 2, "threads": 1, "device": "cpu"}
    return Trainer(model, corpus, out=out, reporter=Reporter(), **settings).fit()


@pytest.fixture
def idle(monkeypatch):
    for name in MEASURES:
        monkeypatch.setattr(report, f"measure_{name}", lambda *arguments, **options: None)


def test_a_measure_that_fails_is_noted_and_the_rest_goes_on(run, idle, monkeypatch):
    def fail(model, tokens):
        raise EngineError("the step cannot be differentiated")

    monkeypatch.setattr(report, "measure_spectrum", fail)
    found = inspect_run(run)
    assert found.notes == ["spectra: the step cannot be differentiated"]
    assert found.spectrum is None
    assert found.text == "its validation part"
    assert found.verdict == []


def test_a_fault_of_ours_is_not_hidden(run, idle, monkeypatch):
    def fail(model, tokens):
        raise ZeroDivisionError

    monkeypatch.setattr(report, "measure_spectrum", fail)
    with pytest.raises(ZeroDivisionError):
        inspect_run(run)


def test_progress_names_every_measure(run, idle):
    seen = []
    inspect_run(run, progress=lambda *step: seen.append(step))
    assert [done for _, done, _ in seen] == list(range(len(MEASURES) + 1))
    assert {total for _, _, total in seen} == {len(MEASURES)}
    assert len({what for what, _, _ in seen}) == len(MEASURES) + 1


def test_the_mapping_is_plain(run, idle):
    values = inspect_run(run, prompt="the cat").as_mapping()
    assert values["window"] == 8
    assert values["parameters"] == sum(p.numel() for p in run.model.parameters())
    assert math.isfinite(values["seconds"])
    assert isinstance(values["remedies"]["Clipping by norm"]["what"], str)


def test_a_text_must_be_long_enough(run):
    with pytest.raises(CorpusError, match="64 at least"):
        inspect_run(run, text=type(run.data.train)(run.data.train.ids[:63]), name="short.txt")


@pytest.mark.parametrize(
    ("policy", "window"),
    [("64", 64), ("truncated:16,70", 70), ("random:50", 50), ("full:300", 300), ("checkpointed:1MB:400", 400),
     ("online", None), ("unbiased:50", None)],
)  # fmt: skip
def test_the_window_of_a_policy(policy, window):
    assert report._window_of(parse_policy(policy)) == window


def test_attention_above_the_layers_is_in_nobodys_way(tmp_path):
    """It does nothing to the states of layers, so they are what is measured; gradients come through it."""
    corpus = Corpus.from_text(TEXT, tokenizer="char", name="cats")
    settings = {"batch": 2, "backprop": "8", "steps": 2, "threads": 1, "device": "cpu"}
    found = []
    for window in (0, 6):
        torch.manual_seed(0)
        model = LanguageModel(corpus.vocabulary, cell="gru", hidden=6, attention_window=window)
        run = Trainer(model, corpus, out=tmp_path / f"{window}", reporter=Reporter(), **settings).fit()
        found.append(report.inspect_run(run))
    assert not found[1].notes
    assert [len(each.unrolled.layers) for each in found] == [1, 1]
    assert len(found[1].unrolled.gradients) == len(found[1].flow.layers) == 1
    assert len(found[1].spectrum.jacobians) == 1
    assert found[1].flow.layers[0].norms != found[0].flow.layers[0].norms
    assert found[1].cost.points[0].memory_bytes > found[0].cost.points[0].memory_bytes
