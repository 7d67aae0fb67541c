"""Fine-tuning: which layers move when and how fast, and that a run resumes in every phase with the same bits."""

import math
import os
import signal

import pytest
import torch

from recurra.checkpoint import RunDirectory
from recurra.data import Corpus, DataConfig
from recurra.errors import ConfigError
from recurra.models import LanguageModel
from recurra.testing.tolerances import TOLERANCES
from recurra.training import Origin, Reporter, Run, RunConfig, Trainer, TrainingConfig, adapt, adapted_config
from recurra.training.layers import Layers
from recurra.training.optimization import make_optimizer, make_schedule

TEXT = "she sells sea shells by the sea shore, and the shells she sells are sea shells for sure\n" * 15
BASE = {"batch": 4, "backprop": "13", "epochs": 3, "lr": 0.02, "threads": 1, "seed": 1}


class StopAt(Reporter):
    def __init__(self, step):
        self.at = step

    def step(self, step, loss_nats, grad_norm):
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


class Watch(Reporter):
    """Keeps the weights after each epoch, and lines."""

    def __init__(self):
        self.model, self.seen, self.notes = None, [], []

    def epoch(self, row, sample):
        self.seen.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})

    def note(self, text):
        self.notes.append(text)


def trainer(out, *, reporter=None, model=None, **settings):
    corpus = Corpus.from_text(TEXT, tokenizer="char", name="shells")
    torch.manual_seed(0)
    network = LanguageModel(corpus.vocabulary, **{"hidden": 10, "layers": 2, "dropout": 0.1, **(model or {})})
    return Trainer(network, corpus, out=out, reporter=reporter or Reporter(), **{**BASE, **settings})


def moved(before, after):
    """The layers, from the top down, whose weights differ."""
    names = {"top": ("bias", "projection"), "1": ("stack.cells.1",), "0": ("stack.cells.0",), "words": ("embedding",)}
    differ = [name for name in before if not torch.equal(before[name], after[name])]
    return [layer for layer, starts in names.items() if any(name.startswith(starts) for name in differ)]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "rmsprop", "sgd"])
def test_a_frozen_layer_does_not_move_at_all(tmp_path, optimizer):
    watch = Watch()
    training = trainer(
        tmp_path / "run", reporter=watch, optimizer=optimizer, unfreeze=1.0, weight_decay=0.5, average=0.5, epochs=3
    )
    watch.model = training.model
    first = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    training.fit()
    states = [first, *watch.seen]
    assert [moved(*states[n : n + 2]) for n in range(3)] == [["top"], ["top", "1"], ["top", "1", "0"]]
    assert torch.equal(training.average.mean["embedding.weight"], first["embedding.weight"])
    assert watch.notes == [
        "the lowest 1 of 4 layers stay as they are: with unfreeze 1 their turn would come only after the "
        f"{training.total_steps} steps of this training"
    ]
    assert all(parameter.requires_grad for parameter in training.model.parameters())


def test_what_the_user_froze_stays_frozen(tmp_path):
    training = trainer(tmp_path / "run", unfreeze=0.5, epochs=2)
    training.model.stack.cells[1].requires_grad_(False)
    first = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    training.fit()
    assert moved(first, training.model.state_dict()) == ["top", "0", "words"]
    assert not any(p.requires_grad for p in training.model.stack.cells[1].parameters())


def test_nothing_is_differentiated_below_the_lowest_layer_that_is_trained(tmp_path, monkeypatch):
    training = trainer(tmp_path / "run", unfreeze=1.0, epochs=1)
    wanted = []
    monkeypatch.setattr(
        training.model.stack, "forward", lambda x, *args, _whole=training.model.stack.forward, **options: (
            lambda found: wanted.append((training.model.training, found[0].requires_grad)) or found
        )(_whole(x, *args, **options)),
    )  # fmt: skip
    training.fit()
    assert {needs for in_training, needs in wanted if in_training} == {False}


@pytest.mark.parametrize("policy", ["13", "checkpointed:120KB:60", "random:12", "full:20"])
def test_gradients_of_trained_layers_are_those_of_all(tmp_path, policy):
    gradients = []
    for unfreeze in (0.0, 1.0):
        training = trainer(tmp_path / str(unfreeze), unfreeze=unfreeze, backprop=policy, epochs=2)
        training.prepare()
        batch = training.task.stream(0)[0]
        torch.manual_seed(5)
        with training.layers.frozen(1.0):  # the top and the cell below it are trained
            training.task.objective(batch, None, 0.0).loss.backward()
        gradients.append({name: p.grad for name, p in training.model.named_parameters()})
    whole, part = gradients
    assert {name for name, gradient in part.items() if gradient is None} == {
        name for name in whole if name.startswith(("embedding", "stack.cells.0"))
    }
    for name, gradient in part.items():
        if gradient is not None:
            torch.testing.assert_close(gradient, whole[name], **TOLERANCES[torch.float32])


@pytest.mark.parametrize(
    "settings",
    [
        {"unfreeze": 0.7, "layer_decay": 2.6, "schedule": "slanted"},
        {"unfreeze": 1.0, "optimizer": "rmsprop", "average": 0.9, "model": {"tie": True}},
        {"unfreeze": 0.3, "optimizer": "adam", "partition": "random", "schedule": "onecycle", "layer_decay": 2.0},
    ],
    ids=["slanted", "tied", "random"],
)
def test_a_run_resumes_in_every_phase_with_the_same_bits(tmp_path, settings):
    settings = {"epochs": 2, "batch": 8, **settings}
    whole = trainer(tmp_path / "whole", **settings)
    whole.fit()
    border = math.ceil(settings["unfreeze"] * len(whole.task.stream(0)))  # steps before the next layer joins
    for stop in (border - 1, border, border + 1):
        out = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            trainer(out, reporter=StopAt(stop), **settings).fit()
        Trainer.resume(out, reporter=Reporter()).fit()
        assert (out / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
        one, other = (Run.load(path).directory.read_generation()[0].tensors for path in (out, tmp_path / "whole"))
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_how_many_layers_are_trained():
    layers = Layers([[torch.nn.Parameter(torch.zeros(1))] for _ in range(4)], unfreeze=1 / 3)
    assert [layers.count(epochs) for epochs in (0, 0.3, 1 / 3, 2 / 3, 0.9999, 1, 50)] == [1, 1, 2, 3, 3, 4, 4]
    assert Layers(layers.parameters).count(0) == 4


def test_each_layer_learns_at_the_rate_of_the_one_above_divided(tmp_path):
    parameters = [[torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))] for _ in range(3)]
    optimizer = make_optimizer(Layers(parameters, decay=2.0), TrainingConfig(lr=0.8))
    assert [group["lr"] for group in optimizer.param_groups] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    for schedule in ("slanted", "cosine", "onecycle", "constant"):
        optimizer = make_optimizer(Layers(parameters, decay=2.0), TrainingConfig(lr=0.8, schedule=schedule))
        moving, highest = make_schedule(optimizer, TrainingConfig(lr=0.8, schedule=schedule), 60), [0.0] * 6
        for _ in range(60):
            highest = [max(h, group["lr"]) for h, group in zip(highest, optimizer.param_groups, strict=True)]
            optimizer.step()
            moving.step()
        assert highest == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2, 0.2])


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 100, 250])
def test_the_slanted_schedule_is_equation_3(steps):
    optimizer = make_optimizer(Layers([[torch.nn.Parameter(torch.zeros(2))]]), TrainingConfig(lr=0.5))
    schedule = make_schedule(optimizer, TrainingConfig(lr=0.5, schedule="slanted"), steps)
    cut = max(1, steps // 10)
    rates = []
    for t in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        p = t / cut if t < cut else 1 - (t - cut) / max(1, steps - cut)
        assert rates[-1] == pytest.approx(0.5 * (1 + p * 31) / 32)
        optimizer.step()
        schedule.step()
    assert rates.index(max(rates)) == (cut if steps > 1 else 0)


@pytest.mark.parametrize("settings", [{"layer_decay": 0.5}, {"unfreeze": -1.0}, {"unfreeze": float("inf")}], ids=str)
def test_settings_that_cannot_be(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TrainingConfig(**settings)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    path = tmp_path_factory.mktemp("old") / "run"
    corpus = Corpus.from_text(TEXT, tokenizer="word", name="shells")
    torch.manual_seed(0)
    model = LanguageModel(corpus.vocabulary, hidden=8, layers=2, tie=True, dropout=0.1)
    return Trainer(model, corpus, out=path, reporter=Reporter(), **{**BASE, "epochs": 1}).fit()


def new_text(tmp_path):
    path = tmp_path / "new.txt"
    path.write_text("he sells nets by the sea shore, and the nets he sells are nets for fish\n" * 20)
    return str(path)


def test_a_run_goes_on_to_another_text(tmp_path, old):
    config = adapted_config(old).with_settings(source=new_text(tmp_path), dropout=0.3, epochs=2, batch=4, backprop="9")
    model, corpus = adapt(old, config)
    assert corpus.tokenizer.names[: len(old.tokenizer)] == old.tokenizer.names
    assert {"he", "nets", "fish"} <= set(corpus.tokenizer.names[len(old.tokenizer) :])
    assert model.config.dropout == 0.3
    out = tmp_path / "new"
    run = Trainer(model, corpus, out=out, config=config.training, origin=config.origin, reporter=Reporter()).fit()
    kept = Run.load(out).config
    assert kept.origin == Origin(run=str(old.path), weights=old.directory.model_digest, vocabulary=len(old.tokenizer))
    assert (kept.training.schedule, kept.training.layer_decay, kept.training.unfreeze) == ("slanted", 2.6, 1.0)
    assert str(old.path) in str(kept.origin)
    assert run.metrics[-1]["valid_loss_nats"] < 5


def test_resuming_never_needs_the_old_run(tmp_path, old):
    config = adapted_config(old).with_settings(source=new_text(tmp_path), epochs=2, batch=4, backprop="9", threads=1)

    def start(name, reporter=None):
        model, corpus = adapt(old, config)
        out = tmp_path / name
        return Trainer(
            model, corpus, out=out, config=config.training, origin=config.origin, reporter=reporter or Reporter()
        )

    start("whole").fit()
    with pytest.raises(KeyboardInterrupt):
        start("cut", StopAt(3)).fit()
    settings = (tmp_path / "cut" / "config.toml").read_text()
    assert str(old.path) in settings
    (tmp_path / "cut" / "config.toml").write_text(settings.replace(str(old.path), "/nowhere"))
    RunDirectory(tmp_path / "cut").write_manifest()
    resumed = Trainer.resume(tmp_path / "cut", reporter=Reporter()).fit()
    assert resumed.config.origin.run == "/nowhere"
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (
        tmp_path / "cut" / "model.safetensors"
    ).read_bytes()


def test_what_cannot_go_on_is_refused(tmp_path, old):
    config = adapted_config(old).with_settings(source=new_text(tmp_path))
    with pytest.raises(ConfigError, match="reads its text as word, and cannot go on as char"):
        adapt(old, config.with_settings(tokenizer="char"))
    with pytest.raises(ConfigError, match="'hidden' is 8"):
        adapt(old, config.with_settings(hidden=9))
    run = Run(old.directory, RunConfig(task="classify"), old.model)
    with pytest.raises(ConfigError, match="only a language model"):
        adapted_config(run)
    assert config.data == DataConfig(source=config.data.source, tokenizer="word")
