"""Every check turns red for the fault that it is there for, with advice; a machine without faults is green."""

import json
import os
import shutil
import sys
import time
from collections import namedtuple
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path

import pytest
import torch

import recurra.doctor.checks as all_checks
import recurra.doctor.engine as engine
import recurra.doctor.hardware as hardware
import recurra.doctor.software as software
from recurra.cells.box import CELLS
from recurra.cli import main
from recurra.cli.options import progress_bar
from recurra.doctor import KNOWN, NOTE, OK, WRONG, Known, examine
from recurra.doctor.known import check_known, version_of
from recurra.engine import scan

FEW = {name: CELLS[name] for name in ("rnn", "mingru")}
REQUIRES = ["torch>=2.6", "numpy>=1.26", 'pandas>=2.2; extra == "tasks"', 'ruff>=0.8; extra == "dev"']


@pytest.fixture
def few(monkeypatch):
    """Compares two cells alone: all of them have tests of their own."""
    monkeypatch.setattr(engine, "CELLS", FEW)
    monkeypatch.setattr(all_checks, "CELLS", FEW)


@pytest.fixture
def packages(monkeypatch):
    """What is required and installed, made up."""
    versions = {"torch": "2.9.1", "numpy": "2.0.0", "pandas": "2.3"}
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    monkeypatch.setattr(software, "_version", versions.get)
    return versions


def test_a_machine_without_faults_is_green(few, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "free_bytes", lambda: 2**40)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "total used free")(2**45, 0, 2**45))
    monkeypatch.setattr(hardware, "check_terminal", lambda: hardware.Finding("terminal", OK, ""))
    told = []
    found = list(examine(tmp_path / "runs", lambda *args: told.append(args)))
    assert [finding.name for finding in found if finding.status == WRONG] == []
    assert {finding.name for finding in found} == {
        "libraries", "extras", "known bugs", "processor", "vectors", "memory", "disk", "clock", "terminal", "cache",
        "compiler", "parity",
    }  # fmt: skip
    assert [done for done, _, _ in told] == list(range(len(told)))
    assert told[-1][0] < told[-1][1]
    assert not (tmp_path / "runs").exists()


def test_libraries_that_are_missing_or_old(packages):
    assert software.check_libraries().status == OK
    packages["torch"] = "2.5.1"
    assert (found := software.check_libraries()).status == WRONG
    assert "torch 2.5.1 is older than 2.6" in found.text
    assert "pip install" in found.advice
    del packages["torch"]
    assert "torch is missing" in software.check_libraries().text


def test_extras_that_are_missing_or_old(packages):
    assert software.check_extras().status == OK
    del packages["pandas"]
    assert (found := software.check_extras()).status == NOTE
    assert "tasks (tables, sounds, pictures and their metrics): pandas" in found.text
    assert 'pip install "recurra[tasks]"' in found.advice
    packages["pandas"] = "1.5"
    assert (found := software.check_extras()).status == WRONG
    assert "pandas 1.5 is older than 2.2" in found.text
    assert 'pip install --upgrade "recurra[tasks]"' in found.advice


def test_the_real_requirements_are_read():
    found = software._requirements()
    assert ("torch", "2.6", "") in found
    assert ("pandas", "2.2", "tasks") in found


@pytest.mark.parametrize(
    ("version", "device", "status"),
    [("2.13.0", "mps", WRONG), ("2.13.1+cu12", "mps", WRONG), ("2.14.0", "mps", OK), ("2.13.0", "cpu", OK),
     ("2.13.0", "rocm", WRONG), ("2.14.0", "cuda", NOTE)],
)  # fmt: skip
def test_versions_in_the_table(version, device, status):
    found = check_known({"torch": version}, [device])
    assert found.status == status
    assert ("pytorch/pytorch#" in found.text) == (status != OK)
    assert bool(found.advice) == (status == WRONG)


def test_versions_between_two():
    known = (Known("torch", "2.4", "2.5", "cpu", "wrong", "here"),)
    found = [check_known({"torch": v}, ["cpu"], known).status for v in ("2.3.9", "2.4.0", "2.5.7", "2.6.0a1")]
    assert found == [OK, WRONG, WRONG, OK]
    assert version_of("2.14.0a0+git266") == (2, 14, 0)
    assert version_of(None) == ()


def test_every_entry_of_the_table_says_where_it_is_from():
    assert all("#" in known.source and known.what and known.device in ("cpu", "cuda", "rocm", "mps") for known in KNOWN)


def test_a_kernel_that_gives_other_numbers(few, monkeypatch):
    def bent(cell, inputs, state=None, *, backend="auto", **options):
        outputs, final = scan(cell, inputs, state, backend=backend, **options)
        return (outputs * 1.001 if backend == "llvm" and type(cell).__name__ == "Elman" else outputs), final

    assert engine.check_parity("cpu").status == OK
    monkeypatch.setattr(engine, "scan", bent)
    found = engine.check_parity("cpu")
    assert found.status == WRONG
    assert "rnn float32 llvm on cpu, rnn float64 llvm on cpu" in found.text
    assert "--backend library" in found.advice
    assert any("outputs" in line for line in found.details)


def test_a_kernel_with_other_gradients(few, monkeypatch):
    class Bent(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * 1.001

    def bent(cell, inputs, state=None, *, backend="auto", **options):
        return scan(cell, Bent.apply(inputs) if backend == "library" else inputs, state, backend=backend, **options)

    monkeypatch.setattr(engine, "scan", bent)
    found = engine.check_parity("cpu")
    assert found.status == WRONG
    assert "gradient of inputs" in " ".join(found.details)


def test_a_kernel_that_fails_is_wrong_too(few, monkeypatch):
    def broken(*args, backend="auto", **options):
        if backend == "llvm":
            raise RuntimeError("illegal instruction")
        return scan(*args, backend=backend, **options)

    monkeypatch.setattr(engine, "scan", broken)
    assert engine.check_parity("cpu").status == WRONG


def test_an_engine_that_does_not_compile(monkeypatch):
    assert engine.check_compiler().status == OK

    def broken(*args, **options):
        raise OSError("libLLVM.so: cannot open shared object file")

    monkeypatch.setenv("RECURRA_CACHE", "before")
    monkeypatch.setattr(engine, "compile_module", broken)
    assert (found := engine.check_compiler()).status == WRONG
    assert "libLLVM" in found.text
    assert "llvmlite" in found.advice
    assert os.environ["RECURRA_CACHE"] == "before"
    monkeypatch.undo()
    monkeypatch.setattr(engine, "_cache_in", lambda folder: nullcontext())
    assert "not kept" in engine.check_compiler().text
    monkeypatch.undo()
    monkeypatch.setattr(engine.ctypes, "CFUNCTYPE", lambda *types: lambda address: lambda n: 43)
    assert (found := engine.check_compiler()).status == WRONG
    assert "--backend loop" in found.advice


def test_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "cache"))
    assert engine.check_cache().status == OK
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "file" / "cache"))
    assert (found := engine.check_cache()).status == WRONG
    assert "RECURRA_CACHE=" in found.advice
    monkeypatch.setenv("RECURRA_CACHE", "")
    assert engine.check_cache().status == NOTE


def test_little_disk_and_memory(monkeypatch, tmp_path):
    for free, status in ((2**20, WRONG), (2**31, NOTE), (2**40, OK)):
        usage = namedtuple("Usage", "total used free")(2**41, 0, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        assert hardware.check_disk(tmp_path / "runs").status == status
    for free, status in ((2**20, WRONG), (2**30, NOTE), (2**40, OK)):
        monkeypatch.setattr(hardware, "free_bytes", lambda free=free: free)
        assert (found := hardware.check_memory()).status == status
        assert bool(found.advice) == (status == WRONG)


def test_a_folder_for_runs_that_cannot_be_written(monkeypatch, tmp_path):
    def denied(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(hardware.tempfile, "TemporaryFile", denied)
    found = hardware.check_disk(tmp_path / "runs")
    assert found.status == WRONG
    assert "--out" in found.advice


def test_a_clock_from_another_age(monkeypatch):
    assert hardware.check_clock().status == OK
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert (found := hardware.check_clock()).status == WRONG
    assert "1970-01-01" in found.text


def test_more_threads_than_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert hardware.check_processor().status == OK
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    monkeypatch.setattr(hardware, "CGROUP", tmp_path)
    found = hardware.check_processor()
    assert found.status == NOTE
    assert "a quota of 1.5" in found.text
    assert "--threads 2" in found.advice
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert hardware.check_processor().status == OK


def test_code_narrower_than_the_processor(monkeypatch):
    assert hardware.check_vectors().status == OK
    unit = hardware.host_vector_unit()._replace(lanes=64)
    monkeypatch.setattr(hardware, "host_vector_unit", lambda: unit)
    assert hardware.check_vectors().status == NOTE


def test_a_terminal_that_shows_no_texts(monkeypatch):
    before = hardware.check_terminal()
    stream = namedtuple("Stream", "encoding")
    monkeypatch.setattr(sys, "__stdout__", stream("ascii"))
    monkeypatch.setattr(sys, "__stderr__", stream("UTF-8"))
    found = hardware.check_terminal()
    assert (found.status, found.text) == (WRONG, "stdout is ascii")
    assert "PYTHONUTF8" in found.advice
    monkeypatch.undo()
    with progress_bar("checking"):  # which stands before the streams
        assert hardware.check_terminal() == before


def test_amd_is_told_from_nvidia(monkeypatch):
    assert all_checks._kinds(["cpu", "cuda:0", "cuda:1"]) == ["cpu", "cuda"]
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert all_checks._kinds(["cpu", "cuda:0"]) == ["cpu", "rocm"]


def test_the_command(few, capfd, monkeypatch):
    monkeypatch.setattr(hardware, "free_bytes", lambda: 2**40)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "total used free")(2**45, 0, 2**45))
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["ok"] is True
    assert {"name", "status", "text", "advice", "details"} == set(told["findings"][0])
    assert main(["doctor"]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[-1] == "all well"
    assert "\x1b" not in out
    assert len(out.splitlines()) <= 24
    assert main(["doctor", "-v"]) == 0
    assert "mingru float64 llvm on cpu: as the reference" in capfd.readouterr().out


def test_the_command_says_what_is_wrong(few, capfd, monkeypatch):
    monkeypatch.setattr(hardware, "free_bytes", lambda: 2**20)
    assert main(["doctor"]) == 1
    out = capfd.readouterr().out
    assert "end other programs" in out
    assert out.splitlines()[-1] == "one thing is wrong: memory"
    assert main(["doctor", "--fast"]) == 2
    assert main(["doctor", str(Path.cwd())]) == 2
