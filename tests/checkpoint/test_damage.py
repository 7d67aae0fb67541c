"""Every file of a run directory, damaged in every way: noticed, named, and what works is offered and does work."""

import os
import random
import re
import shlex
import shutil

import pytest
import torch

from recurra.checkpoint import Generation, RunDirectory
from recurra.checkpoint.making import MARKER
from recurra.cli import main
from recurra.data import Corpus
from recurra.errors import RecurraError, RunError
from recurra.models import LanguageModel
from recurra.training import Reporter, Run, Trainer

TEXT = "she sells sea shells by the sea shore\n" * 40
WRITTEN_ONCE = (
    "config.toml", "tokenizer.json", "manifest.json", "tokens/corpus.json", "tokens/tokenizer.json",
    "tokens/train/index.json", "tokens/train/00000.bin", "tokens/valid/index.json", "tokens/valid/00000.bin",
)  # fmt: skip
OF_A_GENERATION = ("manifest.json", "values.json", "tensors.safetensors")


def train(out, hidden=6, **settings):
    torch.manual_seed(0)
    corpus = Corpus.from_text(TEXT, name="shells")
    model = LanguageModel(corpus.vocabulary, hidden=hidden)
    settings = {"batch": 4, "epochs": 2, "backprop": "20", "threads": 1, "backend": "loop", **settings}
    return Trainer(model, corpus, out=out, reporter=Reporter(), **settings).fit()


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    """Curves take longer than all else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recurra.training.trainer.draw_report", lambda directory: directory.read_metrics())
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole") / "run").path


@pytest.fixture(scope="module")
def last(tmp_path_factory):
    """One whose weights to use are the last."""
    return train(tmp_path_factory.mktemp("last") / "run", keep="last").path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The run of another seed, with other rows and units, on the same text."""
    return train(tmp_path_factory.mktemp("other") / "run", hidden=7, batch=3, seed=1).path


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def flip(data, where):
    return data[:where] + bytes([data[where] ^ 1 << random.Random(where).randrange(8)]) + data[where + 1 :]


DAMAGES = {
    "empty": lambda data: b"",
    "one-byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "all-but-one": lambda data: data[:-1],
    "flip-first": lambda data: flip(data, 0),
    "flip-middle": lambda data: flip(data, len(data) // 2),
    "flip-last": lambda data: flip(data, len(data) - 1),
    "removed": None,
    "a-folder": None,
    "swapped": None,
}


def damage(path, kind, other):
    """Damage a file; return whether it is another now."""
    before = path.read_bytes()
    if kind == "removed":
        path.unlink()
    elif kind == "a-folder":
        path.unlink()
        path.mkdir()
    elif kind == "swapped":
        shutil.copyfile(other, path)
    else:
        path.write_bytes(DAMAGES[kind](before))
    return not path.is_file() or path.read_bytes() != before


def refused(action):
    """Return the one line with which something is refused."""
    with pytest.raises(RecurraError) as found:
        action()
    (line,) = str(found.value).splitlines()
    return line


def resume(path):
    return Trainer.resume(path, reporter=Reporter()).fit()


def same_weights(one, two):
    a, b = (Run.load(path).model.state_dict() for path in (one, two))
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", WRITTEN_ONCE)
def test_files_that_are_written_once(whole, other, run, name, kind):
    if not damage(run / name, kind, other / name):
        pytest.skip("the same in both runs")
    line = refused(lambda: Trainer.resume(run, reporter=Reporter()))
    assert str(run / name) in line
    if offer := re.search(r"cp (\S+ \S+)$", line):
        source, target = shlex.split(offer[1])
        if kind == "a-folder":
            os.rmdir(target)
        shutil.copyfile(source, target)
        RunDirectory.open(run).verify()
        assert same_weights(run, whole)
    else:
        assert "another copy of the run" in line
    assert bool(offer) == (name in ("config.toml", "manifest.json", "tokenizer.json", "tokens/tokenizer.json"))


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("keep", ["best", "last"])
def test_weights_to_use(tmp_path, whole, last, other, kind, keep):
    run = shutil.copytree(whole if keep == "best" else last, tmp_path / "run")
    expected = RunDirectory(run).read_model()
    data = RunDirectory(run).model_file.read_bytes()
    damage(run / "model.safetensors", kind, other / "model.safetensors")
    line = refused(lambda: Run.load(run))
    assert str(run / "model.safetensors") in line
    assert f"recurra train --resume {run}" in line
    if kind == "a-folder":
        (run / "model.safetensors").rmdir()
    resume(run)
    assert (run / "model.safetensors").read_bytes() == data
    assert all(torch.equal(RunDirectory(run).read_model()[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", OF_A_GENERATION)
def test_generations(whole, other, run, name, kind):
    newest, others = (max((path / "training").iterdir()) for path in (run, other))
    damage(newest / name, kind, others / name)
    _, notes = RunDirectory(run).read_generation()
    assert len(notes) == 1
    assert str(newest) in notes[0]
    assert "the checkpoint before it" in notes[0]
    if kind not in ("half", "swapped"):
        return
    resume(run)
    assert same_weights(run, whole)
    for log in ("metrics.jsonl", "report/samples.txt"):
        assert (run / log).read_bytes() == (whole / log).read_bytes()


def test_a_whole_generation_of_another_run_is_not_taken(run, other):
    newest = max((run / "training").iterdir())
    shutil.rmtree(newest)
    shutil.copytree(max((other / "training").iterdir()), newest)
    _, notes = RunDirectory(run).read_generation()
    assert "belongs to another run" in notes[0]


@pytest.mark.parametrize("kind", ["empty", "half", "flip-middle", "removed"])
def test_logs_do_not_keep_a_run_from_going_on(whole, run, kind):
    damage(run / "metrics.jsonl", kind, None)
    notes = []
    trainer = Trainer.resume(run, reporter=Reporter())
    trainer.reporter.note = notes.append
    trainer.fit()
    assert str(run / "metrics.jsonl") in notes[0]
    assert same_weights(run, whole)


def test_second_copies_are_mended(run):
    RunDirectory(run).spare_file.write_bytes(b"broken")
    resume(run)
    assert RunDirectory(run).spare_file.read_bytes() == (run / "model.safetensors").read_bytes()


def test_both_copies_of_the_best_weights_are_lost(run):
    for file in (RunDirectory(run).spare_file, run / "model.safetensors"):
        file.write_bytes(b"broken")
    trainer = Trainer.resume(run, reporter=Reporter())
    notes = []
    trainer.reporter.note = notes.append
    trainer.fit()
    assert "the best weights are lost" in notes[0]
    Run.load(run)


def test_a_manifest_of_another_run_is_named(run, other):
    shutil.copyfile(other / "manifest.json", run / "manifest.json")
    assert f"or {run / 'manifest.json'} is another run's" in refused(lambda: Run.load(run))


def test_files_that_were_changed_on_purpose_can_be_accepted(run):
    config = run / "config.toml"
    config.write_text(config.read_text().replace('source = "shells"', 'source = "sea"'))
    assert "damaged" in refused(lambda: Run.load(run))
    RunDirectory(run).write_manifest()
    assert Run.load(run).config.data.source == "sea"
    resume(run)


def test_a_run_of_an_earlier_version_has_no_digests_and_still_works(whole, run):
    model = RunDirectory(run).read_model()
    generation, _ = RunDirectory(run).read_generation()
    shutil.rmtree(run / "spare")
    (run / "manifest.json").unlink()
    shutil.rmtree(run / "training")
    old = RunDirectory(run)
    old.write_generation(Generation(generation.tensors, generation.values))
    old.write_model(model)
    resume(run)
    assert same_weights(run, whole)


def test_lost_digests_are_noticed(run):
    """Weights that belong to a run with digests are not taken for those of an earlier version."""
    shutil.rmtree(run / "spare")
    (run / "manifest.json").unlink()
    assert str(run) in refused(lambda: Run.load(run))


def test_the_last_weights_are_written_though_the_process_died_before(tmp_path, whole, monkeypatch):
    expected = train(tmp_path / "whole", keep="last")
    write, count = RunDirectory.write_model, []

    def die(self, *args, **options):
        count.append(1)
        if len(count) == 3:  # after the first checkpoint, that of the first epoch, and before that of the second
            raise KeyboardInterrupt
        write(self, *args, **options)

    monkeypatch.setattr(RunDirectory, "write_model", die)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", keep="last")
    monkeypatch.setattr(RunDirectory, "write_model", write)
    resume(tmp_path / "cut")
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (expected.path / "model.safetensors").read_bytes()


def test_a_run_that_was_killed_in_its_making_is_made_again(tmp_path, whole, capsys):
    """As the campaign's kills leave it: the marker, and whatever was written before the first checkpoint."""
    path = tmp_path / "run"
    (path / "training").mkdir(parents=True)
    (path / MARKER).write_text("")
    (path / "config.toml").write_text("format = 1")
    assert main(["generate", str(path)]) == 2
    assert "the command that began it begins it again" in capsys.readouterr().err
    train(path)
    assert same_weights(path, whole)
    assert not (path / MARKER).exists()


def test_two_processes_do_not_make_the_same_run(tmp_path):
    with RunDirectory.making(tmp_path / "run"):
        line = refused(lambda: RunDirectory.making(tmp_path / "run").__enter__())
        assert "another process" in line
        (tmp_path / "run" / "config.toml").write_text("format = 1")
    assert "exists already" in refused(RunDirectory(tmp_path / "run").check_free)


def test_a_folder_with_something_else_in_it_is_never_cleared(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="exists already"), RunDirectory.making(tmp_path):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"
