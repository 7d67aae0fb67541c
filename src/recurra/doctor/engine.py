"""Does the engine compile, keep what it compiled, and compute what the reference does, on every device?"""

from __future__ import annotations

import copy
import ctypes
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from llvmlite import ir

from recurra.cells import make_cell
from recurra.cells.box import CELLS
from recurra.doctor.findings import NOTE, OK, WRONG, Finding
from recurra.engine import choose_path, scan
from recurra.engine.llvm.compiler import cache_directory, compile_module
from recurra.engine.llvm.target import host_target
from recurra.errors import EngineError
from recurra.state import map_leaves
from recurra.testing import make_case
from recurra.testing.case import Case, start
from recurra.testing.compare import assert_same, gradients

__all__ = ["check_cache", "check_compiler", "check_parity", "present_devices"]

STEPS, ROWS, SIZE = 6, 3, 16
BACKENDS = ("llvm", "library", "loop")
Tell = Callable[[str], None]


def present_devices() -> list[str]:
    """Return the devices of this machine, as torch names them."""
    gpus = [f"cuda:{n}" for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def check_compiler() -> Finding:
    """Compile a function into a cache of its own, and call it."""
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            with _cache_in(folder):
                address = compile_module(_write_triple, "doctor", "float32", host_target())
            kept = len(list(Path(folder).glob("*.o")))
        result = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(14)
    except Exception as error:  # whatever it is, the engine does not work here
        advice = "reinstall llvmlite; until then --backend loop works, slowly"
        return Finding("compiler", WRONG, f"{type(error).__name__}: {error}", advice)
    if result != 42:
        return Finding(
            "compiler", WRONG, f"3 x 14 is {result}", "compiled code is wrong here: train with --backend loop"
        )
    if not kept:
        return Finding("compiler", WRONG, "compiled code is not kept", "report this: every start compiles anew")
    return Finding("compiler", OK, f"works, and keeps what it compiled: {time.perf_counter() - started:.2f} s")


def _write_triple() -> ir.Module:
    """Return a module with a function that gives three times what it is given."""
    module, number = ir.Module(), ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(number, [number]), "scan")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(builder.mul(function.args[0], number(3)))
    return module


@contextmanager
def _cache_in(folder: str) -> Iterator[None]:
    before = os.environ.get("RECURRA_CACHE")
    os.environ["RECURRA_CACHE"] = folder
    try:
        yield
    finally:
        del os.environ["RECURRA_CACHE"]
        if before is not None:
            os.environ["RECURRA_CACHE"] = before


def check_cache() -> Finding:
    """Write where compiled code is kept."""
    folder = cache_directory()
    if folder is None:
        return Finding("cache", NOTE, "none: RECURRA_CACHE is empty", "every start compiles anew; name a folder in it")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"recurra")
    except OSError as error:
        advice = "every start compiles anew: export RECURRA_CACHE=FOLDER that can be written"
        return Finding("cache", WRONG, f"{folder} cannot be written: {error.strerror}", advice)
    code = list(folder.glob("*.o"))
    return Finding(
        "cache", OK, f"{folder}: {len(code):,} loops, {sum(file.stat().st_size for file in code) / 1e6:.1f} MB"
    )


def check_parity(device: str, tell: Tell = lambda text: None) -> Finding:
    """Compare every cell, on every backend that can run it, with the reference loop on the CPU: values and gradients.

    Args:
        tell: called with the name of each cell before it is checked.
    """
    checked: Counter[str] = Counter()
    wrong: list[str] = []
    details: list[str] = []
    types = [torch.float32] if device == "mps" else [torch.float32, torch.float64]  # mps has no float64
    with exact_products():
        for dtype in types:
            for name in CELLS:
                tell(f"{name}, {str(dtype).removeprefix('torch.')}, {device}")
                for backend, fault in _compare(name, dtype, device):
                    checked[backend] += 1
                    label = f"{name} {str(dtype).removeprefix('torch.')} {backend} on {device}"
                    details.append(f"{label}: {fault or 'as the reference'}")
                    if fault:
                        wrong.append(label)
    counted = ", ".join(f"{backend} {n}" for backend, n in checked.items())
    what = f"{device}: {len(CELLS)} cells in {' and '.join(str(t).removeprefix('torch.') for t in types)} ({counted})"
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        text = f"{device}: not as the reference: {', '.join(wrong[:3])}{more}"
        bad = {label.split()[2] for label in wrong}
        advice = "train with --device cpu" if device != "cpu" else f"train with --backend {_other(bad)}"
        return Finding("parity", WRONG, text, f"{advice}, and report it with the output of recurra doctor -v", details)
    return Finding("parity", OK, f"{what} as the reference", details=details)


def _other(bad: set[str]) -> str:
    return next(backend for backend in ("llvm", "library", "loop") if backend not in bad or backend == "loop")


def _compare(name: str, dtype: torch.dtype, device: str) -> Iterator[tuple[str, str]]:
    """Yield (backend, what differs or nothing) of a cell, for all backends that can run it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cell = make_cell(name, SIZE, SIZE).to(dtype)
    case = make_case(STEPS, ROWS, SIZE, 1, 0, dtype)
    state = start(cell, case)
    reference = _run(cell, case, state, "loop")
    there = copy.deepcopy(cell).to(device)
    moved = replace(case, inputs=case.inputs.to(device))
    begun = map_leaves(lambda leaf: leaf.to(device), state)
    # the reference on the CPU is what all are compared with
    for backend in BACKENDS if device != "cpu" else BACKENDS[:2]:
        try:
            choose_path(there, moved.inputs, begun, backend)
        except EngineError:
            continue
        try:
            found = _run(there, moved, begun, backend)
            assert_same(backend, {key: map_leaves(lambda t: t.cpu(), value) for key, value in found.items()}, reference)
        except Exception as error:  # a kernel that fails is as wrong as one that errs
            yield backend, " ".join(str(error).split())
        else:
            yield backend, ""


def _run(cell: Any, case: Case, state: Any, backend: str) -> dict[str, Any]:
    return gradients(cell, lambda x, s: scan(cell, x, s, backend=backend), case.inputs, state)


@contextmanager
def exact_products() -> Iterator[None]:
    """Let GPUs multiply in float32 what is float32, not in TF32."""
    switches: Sequence[Any] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = False
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value
