"""``train --from``: a run goes on to another text, and what contradicts it is refused in one line."""

import json
import shutil

import pytest

from recurra.checkpoint import RunDirectory
from recurra.training import Run

NEW = "a dog ran after a cat; the DOG saw a CAT on the log!\n" * 40


@pytest.fixture(scope="session")
def new(tmp_path_factory):
    path = tmp_path_factory.mktemp("new") / "dogs.txt"
    path.write_text(NEW)
    return path


SHORT = ("--batch", "4", "--backprop", "16", "--threads", "1", "--steps", "6")


def test_it_goes_on_with_what_the_run_knows(cli, run, new, tmp_path):
    result = cli("train", new, "--from", run, "--out", tmp_path / "out", *SHORT, "--dropout", "0.25", "--json")
    assert result.status == 0
    assert "perplexity" in json.loads(result.out)
    old, tuned = Run.load(run), Run.load(tmp_path / "out")
    assert tuned.tokenizer.names[: len(old.tokenizer)] == old.tokenizer.names
    assert set("CDOGTr!") & set(tuned.tokenizer.names[len(old.tokenizer) :])
    assert f"vocabulary: {len(old.tokenizer)} tokens known, " in result.err
    settings = tuned.config.training
    assert (settings.schedule, settings.layer_decay, settings.unfreeze) == ("slanted", 2.6, 1.0)
    assert (tuned.config.model.hidden, tuned.config.model.dropout) == (old.config.model.hidden, 0.25)
    told = json.loads(cli("info", tmp_path / "out", "--json").out)["origin"]
    assert told == {"run": str(run), "weights": old.directory.model_digest, "vocabulary": len(old.tokenizer)}
    assert f"origin          {run} (weights {told['weights'][:12]}" in cli("info", tmp_path / "out").out
    assert json.loads(cli("info", run, "--json").out)["origin"] is None


def test_options_override_how_it_is_trained(cli, run, new, tmp_path):
    options = ["--schedule", "cosine", "--layer-decay", "1", "--unfreeze", "0", "--lr", "0.1", "--vocab", "60"]
    assert cli("train", new, "--from", run, "--out", tmp_path / "out", *SHORT, *options).status == 0
    settings = Run.load(tmp_path / "out").config.training
    assert (settings.schedule, settings.layer_decay, settings.unfreeze, settings.lr) == ("cosine", 1.0, 0.0, 0.1)


def test_a_run_from_its_settings_begins_anew(cli, run, new, tmp_path):
    assert cli("train", new, "--from", run, "--out", tmp_path / "out", *SHORT).status == 0
    shutil.copy(tmp_path / "out" / "config.toml", tmp_path / "settings.toml")
    assert cli("train", "--config", tmp_path / "settings.toml", "--out", tmp_path / "again").status == 0
    assert Run.load(tmp_path / "again").config.origin is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cell", "gru"], "'cell' is lstm in the trained model and cannot become gru"),
        (["--hidden", "13"], "'hidden' is 12"),
        (["--layers", "2"], "'layers' is 1"),
        (["--embedding", "3"], "'embedding' is None"),
        (["--tie"], "'tie' is False"),
        (["--residual"], "'residual' is False"),
        (["--zoneout", "0.1"], "'zoneout' is 0.0"),
        (["--init", "xavier"], "'init' is None"),
        (["--tokenizer", "word"], "cannot go on as word"),
        (["--vocab", "5"], "'vocab' is 5"),
        (["--recipe", "ptb-small"], "leave one of them out"),
        (["--task", "classify"], "for language models"),
        (["--layer-decay", "0.5"], "'layer_decay' must be at least 1"),
        (["--unfreeze", "-1"], "'unfreeze' must be at least 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_contradicts_the_run_is_refused(cli, run, new, tmp_path, arguments, says):
    result = cli("train", new, "--from", run, "--out", tmp_path / "out", *SHORT, *arguments)
    assert result.status == 2
    assert says in result.line
    assert not (tmp_path / "out").exists()


def test_without_a_text_or_a_run(cli, run, new, tmp_path):
    assert "needs a text to go on to" in cli("train", "--from", run).line
    assert "there is no run directory" in cli("train", new, "--from", tmp_path / "missing").line
    result = cli("train", "--resume", run, "--from", run)
    assert result.status == 2
    assert "drop --from" in result.line


def test_a_run_of_another_task(cli, run, new, tmp_path):
    other = tmp_path / "names"
    table = tmp_path / "names.tsv"
    table.write_text("text\tlabel\n" + "".join(f"{'ab'[k % 2] * (k + 2)}\t{'xy'[k % 2]}\n" for k in range(20)))
    assert cli("train", table, "--task", "classify", "--out", other, "--hidden", "4", "--epochs", "1").status == 0
    result = cli("train", new, "--from", other, "--out", tmp_path / "out")
    assert result.status == 2
    assert "is a run of --task classify" in result.line
    result = cli("train", new, "--from", run, "--config", other / "config.toml", "--out", tmp_path / "out")
    assert result.status == 2
    assert "has the task classify" in result.line


def test_a_cell_of_ones_own_must_be_allowed(cli, run, new, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(run, own)
    settings = (own / "config.toml").read_text()
    (own / "config.toml").write_text(settings.replace('cell = "lstm"', 'cell = "recurra.cells:LSTM"'))
    RunDirectory(own).write_manifest()
    arguments = ("train", new, "--from", own, "--out", tmp_path / "out", *SHORT)
    assert "which is code; allow it with --cell recurra.cells:LSTM" in cli(*arguments).line
    assert cli(*arguments, "--cell", "recurra.cells:LSTM").status == 0
