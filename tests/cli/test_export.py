"""`recurra export`: a folder that is whole and verified, or one line and nothing."""

import json
import os
import sys

import numpy as np
import pytest

from recurra.cli.export import FORMATS as NAMES
from recurra.export import FORMATS, OnnxModel


def test_the_command_knows_all_formats():
    assert set(NAMES) == set(FORMATS)


def test_onnx(cli, run, tmp_path):
    out = tmp_path / "deep" / "folder"
    result = cli("export", run, "--to", "onnx", "--out", out)
    assert result.status == 0
    assert "largest difference" in result.out
    assert sorted(path.name for path in out.iterdir()) == ["sequence.onnx", "step.onnx", "tokenizer.json"]
    assert [path.name for path in out.parent.iterdir()] == ["folder"]
    assert OnnxModel(out).metadata["kind"] == "language model"
    assert out.stat().st_mode & 0o777 == out.parent.stat().st_mode & 0o777


def test_json_and_lengths(cli, run, tmp_path):
    plain = cli("export", run, "--to", "onnx", "--out", tmp_path / "plain", "--json")
    result = cli("export", run, "--to", "onnx", "--out", tmp_path / "out", "--json", "--lengths")
    found = json.loads(result.out)
    assert found["largest_difference"] < 1e-5
    assert set(found["files"]) == {"sequence.onnx", "step.onnx", "tokenizer.json"}
    assert "lengths" in found["sequence.onnx"]
    assert "lengths" not in json.loads(plain.out)["sequence.onnx"]
    logits, _ = OnnxModel(tmp_path / "out").scan(np.zeros((3, 2), int), lengths=[3, 1])
    assert logits.shape[:2] == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "--to", "onxx", "--out", "OUT"], "'onxx' is not"),
        (["RUN", "--to", "onnx"], "Missing option '--out'"),
        (["RUN", "--out", "OUT"], "Missing option '--to'"),
        (["nowhere", "--to", "onnx", "--out", "OUT"], "nowhere"),
        (["RUN", "--to", "onnx", "--out", "RUN"], "exists already"),
        (["RUN", "--to", "onnx", "--out", "FILE/out"], "cannot write"),
    ],
)
def test_mistakes_get_one_line(arguments, message, cli, run, tmp_path):
    (tmp_path / "file").write_text("kept")
    places = {"RUN": run, "OUT": tmp_path / "out", "FILE/out": tmp_path / "file" / "out"}
    before = sorted(path.name for path in run.iterdir())
    result = cli("export", *(places.get(each, each) for each in arguments))
    assert result.status == 2
    assert message in result.line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_disk_that_cannot_be_written(cli, run, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    result = cli("export", run, "--to", "onnx", "--out", tmp_path / "out")
    tmp_path.chmod(0o700)
    assert result.status == 2
    assert "cannot write" in result.line


def test_a_full_disk_in_the_middle(cli, run, tmp_path, monkeypatch):
    from pathlib import Path

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    result = cli("export", run, "--to", "onnx", "--out", tmp_path / "out")
    assert result.status == 2
    assert "No space left on device" in result.line
    assert list(tmp_path.iterdir()) == []


def test_without_the_library_it_says_what_to_install(cli, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = cli("export", run, "--to", "onnx", "--out", tmp_path / "out")
    assert result.status == 2
    assert 'pip install "recurra[export]"' in result.line
    assert list(tmp_path.iterdir()) == []
