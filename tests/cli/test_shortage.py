"""Out of memory: one line with what to lower, status 2, and a run that can go on."""

import json
import os
import subprocess
import sys

import pytest
import torch

from recurra.training import Run

LITTLE = 3 * 2**28
"""Bytes of address space beyond what a process has when it starts to train."""
CHILD = """
import resource, sys
import torch, recurra.training, recurra.recipes
from recurra.cli import main
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="limits of address space are tested on Linux")
def test_a_real_shortage_in_training(tmp_path, text):
    out = tmp_path / "run"
    options = ["--hidden", "512", "--batch", "64", "--backprop", "4000", "--layers", "4", "--threads", "1"]
    corpus = tmp_path / "long.txt"
    corpus.write_text(text.read_text() * 200)
    arguments = [sys.executable, "-c", CHILD, str(LITTLE), "train", str(corpus), "--out", str(out), *options]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    *_, line = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert line.startswith("recurra: out of memory")
    assert "for steps kept for back-propagation 4,000 steps x 64 rows x" in line
    assert "--batch (64) or --backprop" in line
    assert f"recurra train --resume {out}" in line
    assert Run.load(out).model is not None


@pytest.mark.parametrize(
    ("command", "where", "says"),
    [
        (["evaluate", "RUN", "TEXT", "--batch", "4"], "recurra.evaluation.perplexity.measure", "side, --batch 4"),
        (["generate", "RUN", "--samples", "3"], "recurra.models.generate_texts", "lower samples at once, --samples 3"),
        (["generate", "RUN", "--beam", "5"], "recurra.models.search_texts", "lower texts of a beam, --beam 5"),
        (["generate", "RUN"], "recurra.models.generate_text", "run it where there is more"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_other_commands_say_what_to_lower(cli, run, text, monkeypatch, command, where, says):
    def short(*args, **options):
        return torch.empty(2**45)

    monkeypatch.setattr(where, short)
    result = cli(*[{"RUN": run, "TEXT": text}.get(word, word) for word in command])
    assert result.status == 2
    assert result.line.startswith("recurra: out of memory (128 TiB were asked for): ")
    assert "the model has 1 layers of 12 units" in result.line
    assert says in result.line


def test_predict_says_it_too(cli, run, tmp_path, monkeypatch):
    table = tmp_path / "reviews.tsv"
    table.write_text("".join(f"a fine film number {n}\tgood\na dull film number {n}\tbad\n" for n in range(40)))
    out = tmp_path / "reviews"
    assert cli("train", "--task", "classify", table, "--out", out, "--steps", "2", "--hidden", "4").status == 0

    def short(*args):
        raise MemoryError

    monkeypatch.setattr("recurra.training.examples.ClassifyTask.answer", short)
    (tmp_path / "new.txt").write_text("a film\n")
    result = cli("predict", out, tmp_path / "new.txt")
    assert result.status == 2
    assert result.line.startswith("recurra: out of memory: ")


def test_commands_without_advice_of_their_own(cli, run, text, monkeypatch):
    monkeypatch.setattr("recurra.training.Run.load", lambda *args, **options: torch.empty(2**45))
    result = cli("score", run, text)
    assert (result.status, result.line.startswith("recurra: out of memory")) == (2, True)
    assert "give it less at once" in result.line


def test_a_warning_before_it_begins(cli, text, tmp_path, monkeypatch, quick):
    monkeypatch.setattr("recurra.cli.train.free_bytes", lambda: 2**10)
    result = cli("train", text, "--out", tmp_path / "run", *quick, "--device", "cpu", "--json")
    assert result.status == 0
    assert "warning: only 1 KiB are free here, and it takes about" in result.err
    assert "Lower --batch (4) or --backprop" in result.err
    assert json.loads(result.out)["run"]
    monkeypatch.undo()
    assert "warning:" not in cli("train", text, "--out", tmp_path / "other", *quick).err


def test_the_limit_of_a_control_group_refuses_a_model(cli, text, tmp_path, monkeypatch):
    monkeypatch.setattr("recurra.cli.train.installed_bytes", lambda: 2**20)
    result = cli("train", text, "--out", tmp_path / "run", "--hidden", "512")
    assert result.status == 2
    assert "takes more memory" in result.line


@pytest.mark.parametrize("arguments", [["--retries", "-1"], ["--retries", "often"]])
def test_retries_that_cannot_be(cli, text, tmp_path, arguments):
    result = cli("train", text, "--out", tmp_path / "run", *arguments)
    assert result.status == 2
    assert "retries" in result.line
