"""Compiled code is kept in memory and on disk, and a disk that fails is no reason to stop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_cases import FLOAT32, assert_like_reference, inputs_for, make, state_for, values

from recurra.engine import plans
from recurra.engine.llvm import compiler


@pytest.fixture
def cache(monkeypatch, tmp_path, new_process):
    """An empty folder for compiled code."""
    folder = tmp_path / "deep" / "folder"
    monkeypatch.setenv("RECURRA_CACHE", str(folder))
    return folder


@pytest.fixture
def compiled(monkeypatch):
    """Count what is compiled."""
    calls, compile_module = [], compiler._object_code

    def count(*arguments):
        calls.append(arguments)
        return compile_module(*arguments)

    monkeypatch.setattr(compiler, "_object_code", count)
    return calls


def forget():
    plans._plans.clear()
    plans._recent.clear()
    compiler._programs.clear()


def run():
    """A cell without a product in its loop: its programs take a tenth of the time to compile."""
    cell = make("sru")
    assert_like_reference(cell, inputs_for(cell), state_for(cell))


def test_a_second_process_compiles_nothing(cache, compiled):
    run()
    files = sorted(cache.iterdir())
    assert len(files) == len(compiled) == 2  # forward and backward
    assert all(file.suffix == ".o" for file in files)
    assert cache.stat().st_mode & 0o777 == 0o700
    compiled.clear()
    forget()
    run()
    assert compiled == []
    assert sorted(cache.iterdir()) == files


def test_one_program_serves_all_numbers_of_rows_and_steps(cache, compiled):
    cell = make("lstm")
    for rows, steps in ((3, 2), (1, 1), (40, 9), (2, 30)):
        assert_like_reference(cell, inputs_for(cell, steps, rows), state_for(cell, rows))
    assert len(compiled) == 2  # forward and backward
    assert len(plans._plans) == 1


def test_cells_of_one_shape_share_a_program_and_others_do_not(cache, compiled):
    run()
    before = len(compiled)
    forget()
    cell = make("sru")
    values(cell, inputs_for(cell), state_for(cell), backend="llvm")
    assert len(compiled) == before
    for other in (make("sru", 3, 6), make("sru", dtype=FLOAT32)):
        values(other, inputs_for(other), state_for(other), backend="llvm")
    assert len(compiled) == 3 * before


DAMAGE = {
    "empty": lambda data: b"",
    "short": lambda data: data[:20],
    "cut": lambda data: data[:-1],
    "changed": lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:],
}


def test_damaged_files_are_compiled_again(cache, compiled):
    run()
    assert len(compiled) == 2
    for one, other in (("empty", "short"), ("cut", "changed")):
        for file, damage in zip(sorted(cache.iterdir()), (one, other), strict=True):
            file.write_bytes(DAMAGE[damage](file.read_bytes()))
        compiled.clear()
        forget()
        run()
        assert len(compiled) == 2
    compiled.clear()
    forget()
    run()
    assert compiled == []


def test_a_folder_that_cannot_be_is_no_error(cache, compiled, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("RECURRA_CACHE", str(place))
        forget()
        run()
    assert (tmp_path / "file").read_text(encoding="utf-8") == "no folder"


def test_a_folder_in_the_place_of_a_file_is_no_error(cache, compiled):
    run()
    names = [file.name for file in cache.iterdir()]
    for name in names:
        (cache / name).unlink()
        (cache / name).mkdir()
    forget()
    run()
    assert sorted(file.name for file in cache.iterdir()) == sorted(names)


def test_a_disk_that_fills_up_leaves_nothing_half_written(cache, compiled, monkeypatch):
    def fail(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    run()
    assert list(cache.iterdir()) == []


def test_an_empty_setting_writes_nothing(monkeypatch, tmp_path, new_process):
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("RECURRA_CACHE", "")
    assert compiler.cache_directory() is None
    run()
    assert list(tmp_path.iterdir()) == []


def test_where_the_folder_is(monkeypatch, tmp_path):
    monkeypatch.delenv("RECURRA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert compiler.cache_directory() == tmp_path / "xdg" / "recurra"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compiler.cache_directory() == tmp_path / ".cache" / "recurra"


PROGRAM = """
import torch
from recurra import scan
from recurra.cells import GRU
from recurra.engine.llvm import compiler

if {fails}:
    compiler._object_code = None
outputs, _ = scan(GRU(3, 4), torch.ones(5, 2, 3), backend="llvm")
outputs.sum().backward()
"""


@pytest.mark.slow
def test_another_process_compiles_nothing(tmp_path):
    for fails in (False, True):
        program = [sys.executable, "-c", PROGRAM.format(fails=fails)]
        subprocess.run(program, check=True, env={**os.environ, "RECURRA_CACHE": str(tmp_path)})
