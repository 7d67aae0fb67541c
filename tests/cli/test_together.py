"""Several processes from the command line: one report, one line for what is wrong, and lost ones replaced."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recurra.cli.together import check_processes
from recurra.environment import is_follower, launched
from recurra.errors import ConfigError, RunError
from recurra.training import together

ROOT = Path(__file__).resolve().parents[2]
TEXT = "she sells sea shells by the sea shore, and the shells she sells are sea shells for sure\n" * 60
SMALL = ("--tokenizer", "char", "--hidden", "16", "--batch", "9", "--backprop", "16", "--backend", "loop")
LIMIT_S = 300


def start(folder, *arguments):
    """Start recurra in a folder; what it says goes to a file beside its run."""
    command = [sys.executable, "-m", "recurra", "train", "text.txt", *SMALL, *arguments]
    (folder / "text.txt").write_text(TEXT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)


def said(folder):
    return (folder / "said.txt").read_text()


def until(condition):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def workers(launcher):
    found = subprocess.run(["ps", "--ppid", str(launcher.pid), "-o", "pid="], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--processes", "0"), "--processes must be from 1 to 1,024, not 0"),
        (("--processes", "2", "--restarts", "-1"), "--restarts counts from 0, not -1"),
        (("--restarts", "1"), "--restarts says how often a process is replaced; give --processes, too"),
        (("--processes", "2", "--dropout", "2"), "'dropout' is a probability"),  # before any is started
    ],
)
def test_wrong_numbers_are_refused(cli, arguments, line):
    result = cli("train", "counting", *arguments)
    assert result.status == 2
    assert line in result.line


def test_one_process_is_no_several(cli, tmp_path):
    result = cli("train", "counting", "--hidden", 8, "--steps", 3, "--processes", 1, "--out", tmp_path / "run")
    assert result.status == 0
    assert not (tmp_path / "run" / "training" / "job").exists()


def test_what_is_wrong_is_one_line_and_no_restart(tmp_path):
    process = start(tmp_path, "--processes", "2", "--out", "run", "--valid", "nothing.txt")
    assert process.wait(LIMIT_S) == 2
    (line,) = said(tmp_path).splitlines()
    assert "nothing.txt" in line
    assert not (tmp_path / "run").exists()


def test_what_torchrun_says(monkeypatch):
    given = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1"}
    assert not is_follower({})
    assert is_follower(given)
    assert launched({"TORCHELASTIC_RUN_ID": "mine"}) is None
    assert launched({**given, "TORCHELASTIC_RUN_ID": "mine"}) == "mine"
    assert launched({**given, "TORCHELASTIC_RUN_ID": "none"}) is None  # every job without a name has this one
    assert launched({**given, "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "1"}) == "none"
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="torchrun says how many processes there are"):
        check_processes(2, None)


def test_others_leave_it_to_the_first_to_say_what_is_wrong(cli, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    result = cli("train", "counting", "--dropout", 2)
    assert (result.status, result.err) == (2, "")


@pytest.mark.parametrize(("name", "value"), [("WORLD_SIZE", "two"), ("RECURRA_WAIT_S", "long")])
def test_an_environment_that_makes_no_sense_is_refused(cli, monkeypatch, name, value):
    given = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1", name: value}
    for each, what in given.items():
        monkeypatch.setenv(each, what)
    result = cli("train", "counting")
    assert result.status == 2
    assert "the environment of this process is wrong" in result.line


def test_a_run_that_another_machine_does_not_see_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(together, "PATIENCE_S", 0.0)
    with pytest.raises(RunError, match="all machines must see the same files"):
        together._await(tmp_path / "run")


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    undisturbed, disturbed = tmp_path / "a", tmp_path / "b"
    options = ("--epochs", "6", "--dropout", "0.2", "--out", "run", "--processes", "4", "--restarts", "20")
    for folder in (undisturbed, disturbed):
        folder.mkdir()
    assert start(undisturbed, *options).wait(LIMIT_S) == 0
    process, chance, kills = start(disturbed, *options), random.Random(0), 0
    while process.poll() is None and kills < 4:
        until(lambda n=kills: said(disturbed).count("training in") > n or process.poll() is not None)
        time.sleep(chance.uniform(0, 6))
        if len(found := workers(process)) == 4 and process.poll() is None:
            os.kill(chance.choice(found), signal.SIGKILL)
            kills += 1
    assert process.wait(LIMIT_S) == 0
    assert kills > 1
    assert said(disturbed).count("was killed (SIGKILL); all start again") == kills
    for file in ("model.safetensors", "metrics.jsonl"):
        assert (disturbed / "run" / file).read_bytes() == (undisturbed / "run" / file).read_bytes()


@pytest.mark.slow
def test_without_restarts_it_ends_with_one_line(tmp_path):
    process = start(tmp_path, "--epochs", "60", "--out", "run", "--processes", "2", "--restarts", "0")
    until(lambda: "training in" in said(tmp_path))
    os.kill(workers(process)[0], signal.SIGKILL)
    assert process.wait(LIMIT_S) == 1
    lines = [line for line in said(tmp_path).splitlines() if line.startswith("recurra:")]
    (line,) = lines
    assert "was killed (SIGKILL); there are no restarts left; continue the run with --resume" in line


@pytest.mark.slow
def test_an_interruption_is_saved(tmp_path):
    process = start(tmp_path, "--epochs", "60", "--out", "run", "--processes", "2")
    until(lambda: "epoch 1 " in said(tmp_path))
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_S) == 130
    assert "interrupted; saved. Continue with: recurra train --resume run" in said(tmp_path)


@pytest.mark.slow
def test_two_hosts_of_which_one_is_cut_off(tmp_path):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import two_hosts
    finally:
        sys.path.pop(0)
    if reason := two_hosts.why_not():
        pytest.skip(reason)
    assert shutil.which("ip")
    assert two_hosts.main(tmp_path / "hosts") == 0
