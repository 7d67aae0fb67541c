"""Same seed, same bits; resuming equals never having stopped."""

import math
import os
import resource
import signal

import pytest
import torch

from recurra.checkpoint import Generation
from recurra.data import Corpus
from recurra.errors import ConfigError, DivergedError, RunError
from recurra.models import LanguageModel, ModelConfig
from recurra.state import named_leaves
from recurra.training import Reporter, Run, RunConfig, Trainer, TrainingConfig
from recurra.training.language import make_stream

TEXT = "she sells sea shells by the sea shore, and the shells she sells are sea shells for sure\n" * 30


class StopAt(Reporter):
    """Presses Ctrl-C after a given step, or in the validation after it."""

    def __init__(self, step, validating=False):
        self.at, self.in_validation, self.seen = step, validating, 0

    def step(self, step, loss_nats, grad_norm):
        self.seen = step
        if step == self.at and not self.in_validation:
            os.kill(os.getpid(), signal.SIGINT)

    def validating(self, done, total):
        if self.in_validation and self.seen == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def trainer(out, *, tokenizer="char", reporter=None, model=None, **settings):
    corpus = Corpus.from_text(TEXT, tokenizer=tokenizer, name="shells")
    torch.manual_seed(settings.get("seed", 0))
    network = LanguageModel(corpus.vocabulary, **{"cell": "lstm", "hidden": 12, "dropout": 0.2, **(model or {})})
    settings = {"batch": 4, "backprop": "13", "epochs": 2, "schedule": "cosine", "threads": 1, **settings}
    return Trainer(network, corpus, out=out, reporter=reporter or Reporter(), **settings)


def everything(path):
    """The bits that must agree: weights to use, last weights and state, metrics, samples."""
    run = Run.load(path)
    generation, _ = run.directory.read_generation()
    tensors = dict(generation.tensors)
    used = {f"used.{name}": tensor for name, tensor in run.model.state_dict().items()}
    return {**tensors, **used}, run.directory.metrics_file.read_bytes(), run.directory.samples_file.read_bytes()


def assert_same(a, b):
    tensors_a, metrics_a, samples_a = everything(a)
    tensors_b, metrics_b, samples_b = everything(b)
    assert metrics_a == metrics_b
    assert samples_a == samples_b
    assert tensors_a.keys() == tensors_b.keys()
    for name, tensor in tensors_a.items():
        assert torch.equal(tensor, tensors_b[name]), name


def test_same_seed_same_bits_other_seed_other_bits(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        trainer(tmp_path / name, seed=seed).fit()
    assert_same(tmp_path / "a", tmp_path / "b")
    assert everything(tmp_path / "a")[1] != everything(tmp_path / "c")[1]


@pytest.mark.parametrize(
    ("partition", "tokenizer"),
    [
        ("sequential", "char"),
        ("sequential", "word"),
        ("random", "byte"),
        ("random", "bpe"),
        pytest.param("random", "char", marks=pytest.mark.slow),
        pytest.param("random", "word", marks=pytest.mark.slow),
        pytest.param("sequential", "byte", marks=pytest.mark.slow),
        pytest.param("sequential", "bpe", marks=pytest.mark.slow),
    ],
)
def test_resume_in_mid_epoch_equals_never_having_stopped(tmp_path, tokenizer, partition):
    settings = {"tokenizer": tokenizer, "partition": partition, "backprop": "7", "average": 0.9}
    whole = trainer(tmp_path / "whole", **settings)
    whole.fit()
    stop = whole.total_steps // 3
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "cut", reporter=StopAt(stop), **settings).fit()
    again = Trainer.resume(tmp_path / "cut", reporter=Reporter())
    again.fit()
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam"},
        {"optimizer": "rmsprop", "schedule": "plateau"},
        {"optimizer": "sgd", "schedule": "constant", "lr": 0.5},
        {"schedule": "onecycle", "ar": 1.0, "tar": 1.0},
        {"predict": "last", "clip": 0.0},
        {"steps": 25, "backprop": "full:20"},
        {"backprop": "truncated:6,16"},
        {"backprop": "random:12"},
        {"backprop": "unbiased:8"},
        {"backprop": "checkpointed:120KB:60", "ar": 1.0, "tar": 1.0},
        {"backprop": "online:5", "model": {"cell": "mingru", "embedding": 24}},
        {"patience": 1},
        {"model": {"cell": "gru", "layers": 2, "residual": True, "zoneout": 0.1}},
        {"model": {"tie": True, "weight_drop": 0.3, "embedding_dropout": 0.2}},
        {"model": {"attention_window": 12, "weight_drop": 0.3, "dropout": 0.2}, "ar": 1.0, "tar": 1.0},
    ],
    ids=str,
)
def test_every_way_to_train_resumes_exactly(tmp_path, settings):
    trainer(tmp_path / "whole", **settings).fit()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "cut", reporter=StopAt(17), **settings).fit()
    Trainer.resume(tmp_path / "cut", reporter=Reporter()).fit()
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_an_interrupted_validation_is_done_again(tmp_path):
    whole = trainer(tmp_path / "whole", average=0.9)
    whole.fit()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "cut", average=0.9, reporter=StopAt(whole.total_steps // 2, validating=True)).fit()
    rows = Run.load(tmp_path / "cut").metrics
    assert not any("valid_loss_nats" in row for row in rows)
    Trainer.resume(tmp_path / "cut", reporter=Reporter()).fit()
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_resuming_from_the_older_checkpoint_gives_the_same_bits(tmp_path):
    trainer(tmp_path / "whole").fit()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "cut", reporter=StopAt(20)).fit()
    newest = max((tmp_path / "cut" / "training").iterdir())
    (newest / "tensors.safetensors").write_bytes(b"broken")
    Trainer.resume(tmp_path / "cut", reporter=Reporter()).fit()
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    trainer(tmp_path / "run").fit()
    before = everything(tmp_path / "run")[1]
    Trainer.resume(tmp_path / "run", reporter=Reporter()).fit()
    assert everything(tmp_path / "run")[1] == before


def test_training_learns(tmp_path):
    run = trainer(tmp_path / "run", epochs=15, lr=0.01, model={"hidden": 32, "dropout": 0.0}).fit()
    rows = [row for row in run.metrics if "valid_loss_nats" in row]
    assert rows[-1]["valid_loss_nats"] < 0.5 * rows[0]["valid_loss_nats"]
    assert rows[-1]["valid_perplexity"] == pytest.approx(math.exp(rows[-1]["valid_loss_nats"]))
    assert (run.path / "report" / "curves.png").stat().st_size > 10_000
    assert run.verdict


def test_the_state_is_carried_from_window_to_window(tmp_path):
    """The carried state after training is that of reading the row, not of its last window alone."""
    fitted = trainer(tmp_path / "run", steps=6, lr=1e-9, weight_decay=0.0, model={"dropout": 0.0})
    fitted.fit()
    stream = make_stream(fitted.data.train, fitted.config, 0)
    inputs = torch.cat([stream[k].inputs for k in range(6)])
    fitted.model.eval()
    _, expected = fitted.model.features(inputs)
    generation, _ = fitted.directory.read_generation()
    for name, leaf in named_leaves(expected).items():
        torch.testing.assert_close(generation.tensors[f"state.{name}"], leaf.detach(), atol=1e-4, rtol=1e-4)


def test_the_best_weights_are_kept_unless_the_last_are_asked_for(tmp_path):
    best = trainer(tmp_path / "best", epochs=6, lr=0.3, schedule="constant", clip=0.0).fit()
    last = trainer(tmp_path / "last", epochs=6, lr=0.3, schedule="constant", clip=0.0, keep="last").fit()
    losses = [row["valid_loss_nats"] for row in best.metrics if "valid_loss_nats" in row]
    assert losses[-1] > min(losses), "the test needs a run that gets worse"
    from recurra.evaluation import evaluate

    assert evaluate(best.model, best.data.valid).loss_nats == pytest.approx(min(losses), rel=1e-4)
    assert evaluate(last.model, last.data.valid).loss_nats == pytest.approx(losses[-1], rel=1e-4)


def test_patience_stops_early(tmp_path):
    run = trainer(tmp_path / "run", epochs=50, lr=0.3, schedule="constant", clip=0.0, patience=2).fit()
    assert run.metrics[-1]["epoch"] < 50


class Explode(Reporter):
    """Makes one step far too long, after some good ones."""

    def __init__(self, at):
        self.at, self.trainer = at, None

    def step(self, step, loss_nats, grad_norm):
        if step == self.at:
            for group in self.trainer.optimizer.param_groups:
                group["lr"] = 1e40


def test_divergence_stops_and_keeps_the_last_good_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("recurra.training.trainer.CHECKPOINT_EVERY_S", -1.0)
    settings = {"optimizer": "sgd", "lr": 0.1, "clip": 0.0, "schedule": "constant", "retries": 0}
    exploding = trainer(tmp_path / "run", reporter=Explode(9), **settings)
    exploding.reporter.trainer = exploding
    with pytest.raises(DivergedError, match="--lr"):
        exploding.fit()
    good = trainer(tmp_path / "good", **{**settings, "steps": 9})
    good.fit()
    kept, _ = Run.load(tmp_path / "run").directory.read_generation()
    expected, _ = Run.load(tmp_path / "good").directory.read_generation()
    assert kept.values["step"] == 9
    for name, tensor in expected.tensors.items():
        if name.startswith("model."):
            assert torch.equal(kept.tensors[name], tensor), name
            assert torch.equal(Run.load(tmp_path / "run").model.state_dict()[name.removeprefix("model.")], tensor)


def test_an_interrupted_first_epoch_leaves_its_weights_to_use(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", reporter=StopAt(7)).fit()
    run = Run.load(tmp_path / "run")
    generation, _ = run.directory.read_generation()
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, generation.tensors[f"model.{name}"])


def test_fitting_again_after_an_interruption_goes_on(tmp_path):
    trainer(tmp_path / "whole").fit()
    cut = trainer(tmp_path / "cut", reporter=StopAt(7))
    with pytest.raises(KeyboardInterrupt):
        cut.fit()
    cut.fit()
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_a_run_with_other_names_in_its_checkpoint_is_refused(tmp_path):
    run = trainer(tmp_path / "run", steps=5).fit()
    generation, _ = run.directory.read_generation()
    values = {("window" if name == "batch" else name): value for name, value in generation.values.items()}
    run.directory.write_generation(Generation(generation.tensors, values))
    with pytest.raises(RunError, match="earlier recurra"):
        Trainer.resume(tmp_path / "run", reporter=Reporter()).fit()


def test_resuming_with_weights_that_do_not_fit_is_refused(tmp_path):
    run = trainer(tmp_path / "run", steps=1).fit()
    text = run.directory.config_file.read_text()
    run.directory.config_file.write_text(text.replace("hidden = 12", "hidden = 13"))
    run.directory.write_manifest()
    with pytest.raises(RunError, match="do not fit"):
        Trainer.resume(tmp_path / "run", reporter=Reporter()).fit()


@pytest.mark.parametrize("settings", [{"patience": 2}, {"schedule": "plateau"}], ids=str)
def test_settings_that_need_a_validation_part_say_so(tmp_path, settings):
    corpus = Corpus.from_text(TEXT, valid=0.0)
    with pytest.raises(ConfigError, match="validation"):
        Trainer(LanguageModel(corpus.vocabulary, hidden=8), corpus, out=tmp_path / "run", **settings).fit()


class FillDisk(Reporter):
    """Leaves no room for files as large as a checkpoint, from a given step on."""

    def __init__(self, at):
        self.at = at

    def step(self, step, loss_nats, grad_norm):
        if step == self.at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_disk_that_fills_in_mid_training_loses_nothing(tmp_path):
    trainer(tmp_path / "whole").fit()
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(RunError, match="File too large"):
            trainer(tmp_path / "cut", reporter=FillDisk(9)).fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not list((tmp_path / "cut").rglob("*.tmp"))
    Trainer.resume(tmp_path / "cut", reporter=Reporter()).fit()
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_no_validation_part_keeps_the_last_weights(tmp_path):
    corpus = Corpus.from_text(TEXT, tokenizer="char", valid=0.0)
    model = LanguageModel(corpus.vocabulary, hidden=8)
    run = Trainer(model, corpus, out=tmp_path / "run", steps=5, batch=4, reporter=Reporter()).fit()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, run.model.state_dict()[name])


def test_weights_that_do_not_fit_the_settings_are_refused(tmp_path):
    run = trainer(tmp_path / "run", steps=1).fit()
    text = run.directory.config_file.read_text()
    run.directory.config_file.write_text(text.replace("hidden = 12", "hidden = 13"))
    run.directory.write_manifest()
    with pytest.raises(RunError, match="do not fit"):
        Run.load(tmp_path / "run")


def test_a_run_never_imports_code_unasked(tmp_path):
    run = trainer(tmp_path / "run", steps=1).fit()
    text = run.directory.config_file.read_text()
    run.directory.config_file.write_text(text.replace('cell = "lstm"', 'cell = "recurra.cells:LSTM"'))
    run.directory.write_manifest()
    with pytest.raises(RunError, match="--trust"):
        Run.load(tmp_path / "run")
    with pytest.raises(RunError, match="--trust"):
        Run.load(tmp_path / "run", cell="another.module:Cell")
    assert Run.load(tmp_path / "run", cell="recurra.cells:LSTM").model is not None
    assert Run.load(tmp_path / "run", trust=True).model is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"partition": "sequentail"}, {"optimizer": "adamm"}, {"schedule": "cosin"}, {"predict": "all"},
        {"batch": 0}, {"epochs": -1}, {"lr": 0.0}, {"lr": math.nan}, {"backprop": "soon"}, {"average": 1.0},
        {"clip": -1.0}, {"device": "tpu"}, {"keep": "first"},
    ],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_when_built(settings):
    with pytest.raises(ValueError, match=r"\S"):
        TrainingConfig(**settings)


def test_settings_go_where_they_belong():
    config = RunConfig().with_settings(hidden=7, lr=0.5, tokenizer="byte")
    assert (config.model.hidden, config.training.lr, config.data.tokenizer) == (7, 0.5, "byte")
    with pytest.raises(ConfigError, match="unknown setting"):
        RunConfig().with_settings(hiden=7)


CHANGES = {
    "backprop": "5",
    "partition": "random",
    "shuffle": False,
    "batch": 3,
    "optimizer": "rmsprop",
    "lr": 0.01,
    "weight_decay": 0.5,
    "beta2": 0.5,
    "schedule": "constant",
    "clip": 0.01,
    "clip_value": 1e-4,
    "epochs": 1,
    "steps": 9,
    "predict": "last",
    "ar": 5.0,
    "tar": 5.0,
    "layer_decay": 2.6,
    "unfreeze": 1.0,
    "average": 0.5,
    "seed": 9,
}


BASE = {"lr": 0.05, "epochs": 2, "clip": 0.5}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "run"
    trainer(path, **BASE).fit()
    return everything(path)


@pytest.mark.parametrize("field", CHANGES)
def test_every_training_setting_changes_something(tmp_path, base, field):
    trainer(tmp_path / "changed", **{**BASE, field: CHANGES[field]}).fit()
    before, after = base, everything(tmp_path / "changed")
    same = before[1] == after[1] and all(
        name in after[0] and torch.equal(tensor, after[0][name]) for name, tensor in before[0].items()
    )
    assert not same


def test_every_training_setting_is_accounted_for():
    others = {"patience", "keep", "threads", "device", "backend", "retries", "order"}  # which have tests of their own
    assert set(CHANGES) | others == set(TrainingConfig.__dataclass_fields__)


def test_a_run_stores_what_auto_was_and_keeps_to_it(tmp_path):
    corpus = Corpus.from_text(TEXT, tokenizer="char")
    model = LanguageModel(corpus.vocabulary, cell="gru", hidden=4, layers=2)
    run = Trainer(model, corpus, out=tmp_path / "run", batch=2, backprop="8", steps=2).fit()
    assert run.config.training.backend == "llvm"
    model = LanguageModel(corpus.vocabulary, cell="gru", hidden=4, layers=2)
    mixed = Trainer(model, corpus, out=tmp_path / "mixed", batch=2, backprop="8", steps=2, backend="loop,library").fit()
    assert mixed.config.training.backends == ("loop", "library")
    assert Trainer.resume(tmp_path / "mixed").config.backend == "loop,library"


@pytest.mark.parametrize("backend", ["fast", "loop,", "loop,loop,loop"])
def test_backends_that_cannot_be(tmp_path, backend):
    corpus = Corpus.from_text(TEXT, tokenizer="char")
    model = LanguageModel(corpus.vocabulary, cell="gru", hidden=4, layers=2)
    with pytest.raises(ConfigError, match="backend"):
        Trainer(model, corpus, out=tmp_path / "run", steps=1, backend=backend).fit()
    assert not (tmp_path / "run").exists()


MODEL_CHANGES = {
    "cell": "gru",
    "hidden": 5,
    "layers": 2,
    "embedding": 7,
    "dropout": 0.5,
    "input_dropout": 0.5,
    "embedding_dropout": 0.5,
    "weight_drop": 0.5,
    "zoneout": 0.5,
    "tie": True,
    "residual": True,
    "attention_window": 3,
    "embedding_std": 0.5,
    "init": "xavier",
    "recurrent_init": "orthogonal",
}


@pytest.mark.parametrize("field", MODEL_CHANGES)
def test_every_model_setting_changes_something(field):
    corpus = Corpus.from_text(TEXT, tokenizer="char")
    tokens = torch.randint(len(corpus.vocabulary), (6, 2))
    results = []
    for config in (ModelConfig(hidden=12), ModelConfig(**{"hidden": 12, field: MODEL_CHANGES[field]})):
        torch.manual_seed(1)
        model = LanguageModel(corpus.vocabulary, config)
        torch.manual_seed(2)
        results.append(model(tokens)[0])
    assert not torch.equal(*results)


def test_every_model_setting_is_accounted_for():
    assert set(MODEL_CHANGES) == set(ModelConfig.__dataclass_fields__)
