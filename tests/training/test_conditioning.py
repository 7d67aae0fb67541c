"""Learning texts behind labels: what a label tells is learned, and a run goes on as if it had never stopped."""

import random

import pytest
import torch

from recurra.data import Corpus, Examples
from recurra.errors import ConfigError
from recurra.models import LanguageModel, generate_texts
from recurra.training import Reporter, Run, Trainer, sample_text


def made_up(count=120):
    """Words of a and b under one label, of c and d under the other; sorted by label."""
    draw = random.Random(0)
    letters = {"early": "ab", "late": "cd"}
    rows = [
        ("".join(draw.choice(letters[label]) for _ in range(draw.randint(3, 6))), label)
        for label in letters
        for _ in range(count)
    ]
    return Examples([text for text, _ in rows], [label for _, label in rows])


def trainer(out, corpus, **settings):
    torch.manual_seed(0)
    model = LanguageModel(corpus.vocabulary, cell="gru", hidden=24)
    settings = {"batch": 8, "backprop": "12", "lr": 0.02, "epochs": 6, "threads": 1, **settings}
    return Trainer(model, corpus, out=out, reporter=Reporter(), **settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trainer(tmp_path_factory.mktemp("conditioned") / "run", Corpus.from_examples(made_up())).fit()


def test_each_label_writes_as_its_texts(run):
    for label, letters in (("early", "ab"), ("late", "cd")):
        texts = generate_texts(run.model, condition=label, samples=40, tokens=12, seed=1)
        written = "".join(texts)
        assert sum(letter in letters for letter in written) > 0.97 * len(written) > 100
        assert sum(2 < len(text) < 7 for text in texts) > 25  # and ends as they do
    assert run.model.generate("a", condition="late", tokens=12, seed=1) != run.model.generate(
        "a", condition="early", tokens=12, seed=1
    )


def test_samples_name_their_labels(run):
    assert sample_text(run.model, tokens=24, seed=0).split(": ")[0] in ("early", "late")
    assert sample_text(run.model, tokens=24, seed=0).count(": ") == 2
    assert run.directory.samples_file.read_text().count("late: ") == 6


def test_a_resumed_run_equals_one_that_never_stopped(run, tmp_path):
    corpus = Corpus.from_examples(made_up())
    stopped = trainer(tmp_path / "run", corpus)

    class Stop(Reporter):
        def step(self, step, loss_nats, grad_norm):
            if step == 40:
                raise KeyboardInterrupt

    stopped.reporter = Stop()
    with pytest.raises(KeyboardInterrupt):
        stopped.fit()
    resumed = Trainer.resume(tmp_path / "run", reporter=Reporter())
    resumed.fit()
    for name, tensor in Run.load(tmp_path / "run").model.state_dict().items():
        assert torch.equal(tensor, run.model.state_dict()[name]), name
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == run.directory.metrics_file.read_bytes()


def test_windows_that_would_lose_labels_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="random windows cut texts off their labels"):
        trainer(tmp_path / "run", Corpus.from_examples(made_up()), partition="random")
    assert not (tmp_path / "run").exists()
