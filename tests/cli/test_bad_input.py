"""What people type wrong: one clear line on stderr, exit status 2, nothing half-written."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from recurra.training import Reporter, Run, Trainer


class Stop(Reporter):
    """Presses Ctrl-C after the first step."""

    def step(self, step, loss_nats, grad_norm):
        os.kill(os.getpid(), signal.SIGINT)


def corpus(tmp_path, data):
    path = tmp_path / "corpus.txt"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"x", "token"),
        (b"\x7fELF\x00\x01\x02", "byte offset 4"),
        (b"caf\xe9 au lait " * 50, "byte offset 3"),
        (b"too short", "longer text"),
        (b"not long enough for so many rows" * 2, "too few for 32 rows"),
    ],
    ids=["empty", "one-token", "binary", "not-utf8", "short", "shorter-than-batch"],
)
def test_texts_that_cannot_be_learned(cli, tmp_path, data, says):
    result = cli("train", corpus(tmp_path, data), "--out", tmp_path / "run")
    assert result.status == 2
    assert says in result.line
    assert not (tmp_path / "run").exists()


def test_bytes_take_what_is_not_text(cli, tmp_path, quick):
    data = bytes(range(256)) * 20
    assert cli("train", corpus(tmp_path, data), "--tokenizer", "byte", "--out", tmp_path / "run", *quick).status == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.txt"], "missing.txt"),
        (["--cell", "lstn"], "did you mean 'lstm'"),
        (["--hiden", "3"], "--hidden"),
        (["--hidden", "-3"], "'hidden' must be at least 1"),
        (["--hidden", "many"], "--hidden"),
        (["--layers", "1000000000"], "'layers' must be at most"),
        (["--layers", "0"], "'layers' must be at least 1"),
        (["--batch", "0"], "'batch' must be at least 1"),
        (["--dropout", "1.5"], "'dropout' is a probability"),
        (["--lr", "0"], "'lr' must be above 0"),
        (["--optimizer", "adamm"], "did you mean 'adam"),
        (["--schedule", "cosin"], "did you mean 'cosine'"),
        (["--tokenizer", "chars"], "did you mean 'char'"),
        (["--partition", "sequentially"], "did you mean 'sequential'"),
        (["--backprop", "soon"], "cannot read 'soon'"),
        (["--backprop", "0"], "at least 1"),
        (["--recipe", "countin"], "did you mean 'counting"),
        (["--task", "ln"], "unknown task 'ln'"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--valid", "1.5"], "'valid'"),
        (["--valid", "missing.txt"], "missing.txt"),
        (["--resume", "missing"], "missing"),
        (["--vocab", "-1"], "'vocab'"),
        (["--hidden", "1" + "0" * 12], "'hidden' must be at most"),
        (["--hidden", "200000"], "memory"),
        (["--device", "tpu"], "unknown device"),
        (["--seed", "-1"], "'seed'"),
        (["--seed", "9" * 20], "'seed'"),
        (["--threads", "100000000"], "'threads'"),
        (["--epochs", "1000000000"], "'epochs'"),
        (["--hidden", "9" * 30], "'hidden'"),
        (["--partition", "random", "--backprop", "9" * 21], "below"),
        (["--recipe", "ptb-small", "--valid", "0", "--schedule", "plateau"], "--valid"),
    ],
    ids=" ".join,
)
def test_wrong_options(cli, tmp_path, monkeypatch, text, arguments, says):
    monkeypatch.chdir(tmp_path)
    given = arguments if arguments[0][0] != "-" else [str(text), *arguments]
    result = cli("train", *given) if "--resume" not in arguments else cli("train", *arguments)
    assert result.status == 2
    assert says in result.line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "did you mean 'train'"),
        (["generate"], "RUN"),
        (["evaluate", "missing"], "no run directory"),
        (["--nonsense"], "--nonsense"),
    ],
    ids=" ".join,
)
def test_wrong_commands(cli, arguments, says):
    result = cli(*arguments)
    assert result.status == 2
    assert says in result.line


def test_unknown_settings_in_a_file_are_refused(cli, tmp_path, text):
    (tmp_path / "settings.toml").write_text("[model]\nhiden = 3\n")
    result = cli("train", text, "--config", tmp_path / "settings.toml")
    assert result.status == 2
    assert "did you mean 'hidden'" in result.line


def test_a_table_of_settings_must_be_one(cli, tmp_path, text):
    (tmp_path / "settings.toml").write_text("model = 3\n")
    result = cli("train", text, "--config", tmp_path / "settings.toml", "--hidden", "3")
    assert result.status == 2
    assert "'model' must be a table" in result.line


def test_a_recipe_for_texts_asks_for_one(cli):
    result = cli("train", "--recipe", "shakespeare")
    assert result.status == 2
    assert "needs something to learn from" in result.line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(cli, text):
    result = cli("train", text, "--device", "cuda")
    assert result.status == 2
    assert "CUDA" in result.line


def test_a_users_cell_that_fails_is_theirs(cli, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failing_cell.py").write_text("raise ValueError('no')\n")
    result = cli("train", text, "--cell", "failing_cell:Cell")
    assert result.status == 2
    assert "failing_cell" in result.line


def test_a_resumed_run_keeps_its_settings(cli, run, text):
    result = cli("train", "--resume", run, "--lr", "1")
    assert result.status == 2
    assert "--lr" in result.line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--temperature", "-1"], "temperature"),
        (["--top-k", "0"], "top_k"),
        (["--top-p", "2"], "top_p"),
        (["--tokens", "0"], "tokens"),
        (["--prompt", "Ünïcödé"], "Ü"),
        (["--prompt-file", "missing"], "missing"),
        (["--prompt", "a", "--prompt-file", "b"], "not both"),
        (["--tokens", "9" * 20], "tokens"),
        (["--prompt", ""], "the prompt is empty"),
        (["--min-p", "0"], "min_p"),
        (["--typical", "2"], "typical"),
        (["--greedy", "--min-p", "0.1"], "greedy"),
        (["--repetition-penalty", "-1"], "repetition_penalty"),
        (["--ban", ""], "must not be empty"),
        (["--force", ""], "must not be empty"),
        (["--force", "§"], "'§'"),
        (["--regex", "("], "no regular expression"),
        (["--regex", "x+"], "no text of this vocabulary"),
        (["--regex", "(cat ){9}", "--tokens", "20"], "has 36 tokens"),
        (["--regex", "cat", "--force", "dog"], "begins with the forced text"),
        (["--regex", "cat", "--stop", "t"], "cut a match short"),
        (["--json-schema", "missing"], "recurra: cannot read the JSON schema in missing"),
    ],
    ids=" ".join,
)
def test_wrong_ways_to_generate(cli, run, options, says):
    result = cli("generate", run, *options)
    assert result.status == 2
    assert says in result.line
    assert result.out == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("3", "must be an object"),
        ('{"type": "integer", "minimum": 3}', "'minimum'"),
        ('{"type": "integer"}', "no text of this vocabulary"),
    ],
)
def test_schemas_that_cannot_be_used(cli, run, tmp_path, content, says):
    (tmp_path / "schema.json").write_text(content)
    result = cli("generate", run, "--json-schema", tmp_path / "schema.json")
    assert result.status == 2
    assert says in result.line
    assert result.out == ""
    both = cli("generate", run, "--regex", "a", "--json-schema", tmp_path / "schema.json")
    assert both.status == 2


def test_a_prompt_file_without_a_prompt(cli, run, tmp_path):
    (tmp_path / "empty.txt").touch()
    result = cli("generate", run, "--prompt-file", tmp_path / "empty.txt")
    assert result.status == 2
    assert "is empty" in result.line


def test_unseen_characters_are_named_and_counted(cli, run, tmp_path):
    result = cli("evaluate", run, corpus(tmp_path, ("the cät sat " * 20).encode()), "--json")
    assert result.status == 0
    assert "'ä' 20" in result.line
    result = cli("evaluate", run, corpus(tmp_path, "Щит и меч".encode() * 9))
    assert result.status == 2
    assert "Щ" in result.line


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: shutil.rmtree(run),
        lambda run: (run / "config.toml").unlink(),
        lambda run: (run / "config.toml").write_text("format = 99"),
        lambda run: (run / "config.toml").write_text("format = 1\n[model]\nhiden = 3"),
        lambda run: (run / "model.safetensors").unlink(),
        lambda run: (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:99]),
        lambda run: (run / "tokenizer.json").write_text("{"),
        lambda run: (run / "config.toml").write_text((run / "config.toml").read_text().replace("= 12", "= 13")),
    ],
    ids=["gone", "no-config", "newer", "unknown-key", "no-weights", "cut-weights", "bad-tokenizer", "misfit"],
)
@pytest.mark.parametrize("command", ["generate", "info", "evaluate", "train --resume"])
def test_damaged_runs(cli, run, tmp_path, damage, command):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    damage(copy)
    weights = copy / "model.safetensors"
    if "resume" in command and copy.exists() and not (weights.exists() and weights.stat().st_size > 99):
        pytest.skip("resuming reads the checkpoint, not the weights to use")
    result = cli(*command.split(), copy)
    assert result.status == 2
    assert str(copy) in result.line
    assert result.out == ""


def test_a_diverging_run_stops_with_advice(cli, text, tmp_path, quick):
    result = cli(
        "train", text, "--out", tmp_path / "run", *quick, "--optimizer", "sgd", "--lr", "1e30", "--clip", "0",
        "--schedule", "constant",
    )  # fmt: skip
    assert result.status == 2
    assert "--lr" in result.err.splitlines()[-1]
    assert cli("generate", tmp_path / "run", "--tokens", "3").status == 0


@pytest.mark.parametrize("limit", [100, 3_000, 6_000])
def test_a_full_disk_leaves_no_half_a_run(text, tmp_path, quick, limit):
    """A real limit on the size of files, in a process of its own."""
    script = (
        "import resource, signal, sys\n"
        "from recurra.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["train", str(text), "--out", str(tmp_path / "run"), *quick]
    result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "File too large" in line
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback(cli):
    assert "Traceback" in cli("evaluate", "missing", "--debug").err


def test_ctrl_c_saves_and_says_how_to_resume(tmp_path, text):
    """A real signal to a real process, then the rest of the run."""
    (tmp_path / "cats.txt").write_text(text.read_text() * 20)
    command = [sys.executable, "-m", "recurra", "train"]
    process = subprocess.Popen(
        [*command, "cats.txt", "--out", "run", "--hidden", "32", "--epochs", "500", "--threads", "1"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"recurra train --resume {os.path.join('run')}" in err
    assert "Traceback" not in err
    # What was trained so far can be used at once, and the run goes on from there.
    run = Run.load(tmp_path / "run")
    generation, _ = run.directory.read_generation()
    assert generation.values["step"] > 0
    resumed = Trainer.resume(tmp_path / "run", reporter=Stop())
    with pytest.raises(KeyboardInterrupt):
        resumed.fit()
    assert resumed.step == generation.values["step"] + 1
