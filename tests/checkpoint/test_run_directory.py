import json
import os
import resource
import subprocess
import sys
import textwrap

import pytest
import torch

from recurra.checkpoint import Generation, RunDirectory, write_atomically
from recurra.errors import RunError


@pytest.fixture
def directory(tmp_path):
    return RunDirectory.create(tmp_path / "run")


def generation(step: int) -> Generation:
    return Generation({"model.w": torch.full((3,), float(step))}, {"step": step})


def test_a_used_folder_is_not_taken(tmp_path):
    (tmp_path / "something").write_text("here")
    with pytest.raises(RunError, match="exists already"):
        RunDirectory.create(tmp_path)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
def test_what_is_no_run_directory_is_refused(tmp_path, make):
    make(tmp_path / "run")
    with pytest.raises(RunError, match="run directory"):
        RunDirectory.open(tmp_path / "run")


def test_config_round_trips_and_versions_are_checked(directory):
    directory.write_config({"model": {"hidden": 3, "cell": "lstm"}})
    assert RunDirectory.open(directory.path).read_config() == {"model": {"hidden": 3, "cell": "lstm"}}
    text = directory.config_file.read_text()
    directory.config_file.write_text(text.replace("format = 1", "format = 99"))
    with pytest.raises(RunError, match="newer"):
        RunDirectory.open(directory.path)
    directory.config_file.write_text(text.replace("format = 1", ""))
    with pytest.raises(RunError, match="no format"):
        RunDirectory.open(directory.path)
    directory.config_file.write_text("= = =")
    with pytest.raises(RunError, match="cannot read"):
        RunDirectory.open(directory.path)


def test_two_generations_are_kept_and_the_newest_is_read(directory):
    for step in range(5):
        directory.write_generation(generation(step))
    assert len(list(directory.training.iterdir())) == 2
    found, notes = directory.read_generation()
    assert found.values == {"step": 4}
    assert torch.equal(found.tensors["model.w"], torch.full((3,), 4.0))
    assert notes == []


@pytest.mark.parametrize("file", ["tensors.safetensors", "values.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_generation_falls_back_to_the_one_before(directory, file, damage):
    for step in (1, 2):
        directory.write_generation(generation(step))
    newest = max(directory.training.iterdir()) / file
    data = bytearray(newest.read_bytes())
    if damage == "truncate":
        newest.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 0x55
        newest.write_bytes(data)
    else:
        newest.unlink()
    found, notes = directory.read_generation()
    assert found.values == {"step": 1}
    assert len(notes) == 1
    assert str(newest.parent) in notes[0]


def test_no_whole_generation_is_an_error(directory):
    with pytest.raises(RunError, match="no checkpoint"):
        directory.read_generation()
    directory.write_generation(generation(1))
    (max(directory.training.iterdir()) / "values.json").write_text("{}")
    with pytest.raises(RunError, match="damaged"):
        directory.read_generation()


def test_damaged_weights_are_named(directory):
    with pytest.raises(RunError, match="does not exist"):
        directory.read_model()
    directory.write_model({"w": torch.zeros(100)})
    directory.model_file.write_bytes(directory.model_file.read_bytes()[:50])
    with pytest.raises(RunError, match="damaged"):
        directory.read_model()


def test_logs_are_cut_back_to_a_generation(directory):
    directory.append_metrics({"step": 1})
    directory.write_generation(generation(1))
    directory.append_metrics({"step": 2})
    directory.append_sample("more")
    directory.read_generation()
    assert directory.read_metrics() == [{"step": 1}]
    assert directory.samples_file.read_text() == ""


def test_a_log_that_lost_its_end_falls_back_to_the_generation_before(directory):
    for step in (1, 2):
        directory.append_metrics({"step": step})
        directory.write_generation(generation(step))
    directory.metrics_file.write_bytes(directory.metrics_file.read_bytes()[:-3])
    found, notes = directory.read_generation()
    assert found.values == {"step": 1}
    assert "shorter" in notes[0]
    assert directory.read_metrics() == [{"step": 1}]
    assert len(list(directory.training.iterdir())) == 1, "a checkpoint that cannot be used takes no place of a good one"


def test_the_newest_generation_can_be_dropped_but_not_the_only_one(directory):
    for step in (1, 2):
        directory.write_generation(generation(step))
    for _ in range(2):
        directory.drop_newest_generation()
        assert directory.read_generation()[0].values == {"step": 1}


def lasting(step: int) -> Generation:
    made = generation(step)
    return Generation(made.tensors, {**made.values, "lasting": True})


def test_two_lasting_generations_are_kept_beside_the_two_newest(directory):
    for step in range(12):
        directory.write_generation(lasting(step) if step % 4 == 1 else generation(step))
    assert sorted(int(path.name) for path in directory.training.iterdir()) == [5, 9, 10, 11]
    directory.write_generation(lasting(12))
    assert sorted(int(path.name) for path in directory.training.iterdir()) == [9, 11, 12]


def test_an_accepted_generation_is_gone_back_to(directory):
    directory.append_metrics({"step": 0})
    directory.write_generation(lasting(0))
    for step in (1, 2):
        directory.append_metrics({"step": step})
        directory.write_generation(generation(step))
    found, notes = directory.read_generation(lambda values: values.get("lasting"))
    assert (found.values["step"], notes) == (0, [])
    assert directory.read_metrics() == [{"step": 0}]
    assert [path.name for path in directory.training.iterdir()] == ["000000"]
    with pytest.raises(RunError, match="no checkpoint"):
        directory.read_generation(lambda values: False)


def test_damaged_metrics_are_named(directory):
    directory.metrics_file.write_text("{not json}\n")
    with pytest.raises(RunError, match="damaged"):
        directory.read_metrics()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "file"
    write_atomically(target, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """A real limit on file size, in a process of its own."""
    script = textwrap.dedent(
        """
        import resource, signal, sys, torch
        from recurra.checkpoint import Generation, RunDirectory
        from recurra.errors import RunError
        directory = RunDirectory.create(sys.argv[1])
        directory.write_generation(Generation({"w": torch.zeros(10)}, {"step": 1}))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        try:
            directory.write_generation(Generation({"w": torch.zeros(10_000)}, {"step": 2}))
        except RunError as error:
            print(error)
        print(directory.read_generation()[0].values)
        print(sorted(path.name for path in directory.training.iterdir()))
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    message, values, names = result.stdout.splitlines()
    assert "cannot write" in message
    assert values == "{'step': 1}"
    assert names == "['000000']"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 20_000


def test_metrics_are_plain_json_lines(directory):
    directory.append_metrics({"step": 1, "loss_nats": 0.5})
    assert [json.loads(line) for line in directory.metrics_file.read_text().splitlines()] == [
        {"step": 1, "loss_nats": 0.5}
    ]
