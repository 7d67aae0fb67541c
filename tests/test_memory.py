"""How much memory there is, and what it looks like when there is none left."""

import errno

import numpy as np
import pytest
import torch

from recurra import memory
from recurra.errors import OutOfMemoryError, RecurraError
from recurra.memory import as_size, asked_for, free_bytes, installed_bytes, is_shortage, naming_shortage


def real_shortages():
    for ask in (lambda: torch.empty(2**45), lambda: np.empty(2**45), lambda: bytearray(2**62)):
        try:
            ask()
        except Exception as error:
            yield error


def test_what_torch_numpy_and_python_raise_is_known():
    errors = list(real_shortages())
    assert len(errors) == 3
    assert all(is_shortage(error) for error in errors)
    assert asked_for(errors[0]) == " (128 TiB were asked for)"
    assert asked_for(errors[1]) == " (256 TiB were asked for)"
    assert asked_for(errors[2]) == ""


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
                     "tried to allocate 2147483648 bytes. Error code 12 (Cannot allocate memory)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 2147483648 bytes."),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        MemoryError(),
    ],
    ids=repr,
)  # fmt: skip
def test_every_way_to_say_it(error):
    assert is_shortage(error)
    said = asked_for(error)
    assert said == (" (2 GiB were asked for)" if "allocate 2" in str(error) else "")


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2"), OSError(errno.ENOENT, "none"), ValueError("memory")])
def test_other_errors_are_none(error):
    assert not is_shortage(error)
    with pytest.raises(type(error)), naming_shortage(lambda: "never asked"):
        raise error


def test_a_shortage_becomes_one_line():
    says = r"^out of memory \(.* were asked for\): lower it$"
    with pytest.raises(OutOfMemoryError, match=says) as caught, naming_shortage(lambda: "lower it"):
        torch.empty(2**45)
    assert isinstance(caught.value, RecurraError)
    assert isinstance(caught.value, MemoryError)
    with pytest.raises(OutOfMemoryError, match=r"^said already$"), naming_shortage(lambda: "again"):
        raise OutOfMemoryError("said already")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (2**30, "1 GiB"), (2**40 - 1, "1,024 GiB")],
)
def test_sizes_in_words(size, text):
    assert as_size(size) == text


def test_the_limit_of_a_control_group_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    machine = installed_bytes()
    assert 0 < free_bytes() <= machine
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300000\n")
    assert installed_bytes() == 1_000_000
    assert free_bytes() == 400_000
    (tmp_path / "memory.max").write_text("max\n")
    assert installed_bytes() == machine
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text("500000\n")
    (folder / "memory.usage_in_bytes").write_text("600000\n")
    (folder / "memory.stat").write_text("total_inactive_file 0\n")
    assert (installed_bytes(), free_bytes()) == (500_000, 0)
