"""From a graph to a native function: LLVM's optimiser and code generator, and the caches in memory and on disk."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
from llvmlite import ir

from recurra.engine.graphs.graph import Graph
from recurra.engine.llvm.direct import DirectEmitter
from recurra.engine.llvm.emitter import Emitter, Layout
from recurra.engine.llvm.rounded import RoundedEmitter, rounds
from recurra.engine.llvm.schedule import schedule
from recurra.engine.llvm.target import Target, host_target, machine

__all__ = ["Program", "cache_directory", "compile_graph", "compile_module"]


@dataclass(frozen=True)
class Program:
    """A compiled graph.

    Args:
        address: of the function that every thread of a team calls.
        layout: what its table of pointers holds.
        scratch: width of each scratch array (B, width).
        reductions: how many numbers per row it needs, and `lanes` of each on the way.
        work: multiply-adds per row and step, with every pointwise operation counted as ten.
    """

    address: int
    layout: Layout
    scratch: tuple[int, ...]
    reductions: int
    lanes: int
    by_rows_only: bool
    work: int


_lock = threading.Lock()
_programs: dict[str, Program] = {}
_engines: list[Any] = []  # the code lives as long as these


def compile_graph(
    graph: Graph,
    dtype: str,
    *,
    backward: bool = False,
    histories: frozenset[int] = frozenset(),
    direct: bool = False,
    stored: tuple[str, ...] = (),
    target: Target | None = None,
) -> Program:
    """Return the native function of a graph, from memory, from disk, or newly compiled.

    Args:
        dtype: "float32" or "float64".
        backward: run from the last step to the first.
        histories: leaves of the state of which all steps are kept; of the others, the last two.
        direct: read matrices where they are, for few rows; see `recurra.engine.llvm.direct`.
        stored: what each matrix is stored as, where they are read so; default as computed.
        target: another than this machine's, for tests.
    """
    target = target or host_target()
    key = _key(f"{target}\n{dtype} {backward} {sorted(histories)} {direct} {stored}\n{graph.text()}")
    with _lock:
        if key not in _programs:
            _programs[key] = _build(graph, dtype, backward, histories, direct, stored, target, key)
        return _programs[key]


def compile_module(write: Callable[[], ir.Module], name: str, dtype: str, target: Target) -> int:
    """Return the address of the function `scan` of a module that is written if no compiled one is on disk."""
    with _lock:
        return _link(_compiled(_key(f"{target}\n{dtype} {name}"), write, target), target)


def cache_directory() -> Path | None:
    """Return where compiled code is kept, or None if RECURRA_CACHE is set to nothing.

    RECURRA_CACHE, else recurra/ in XDG_CACHE_HOME, else in ~/.cache.
    """
    chosen = os.environ.get("RECURRA_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "recurra"
    except RuntimeError:  # no home
        return None


@functools.cache
def _version() -> str:
    cpu = f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    generator = hashlib.sha256()  # what is on disk was made by this code generator, or it is not for us
    for path in sorted(Path(__file__).parent.glob("*.py")):
        generator.update(path.read_bytes())
    return f"{generator.hexdigest()} {version('recurra')} {llvmlite.__version__} {sys.platform} {cpu}"


def _key(described: str) -> str:
    return hashlib.sha256(f"{_version()}\n{described}".encode()).hexdigest()


def _build(
    graph: Graph,
    dtype: str,
    backward: bool,
    histories: frozenset[int],
    direct: bool,
    stored: tuple[str, ...],
    target: Target,
    key: str,
) -> Program:
    planned = schedule(graph)
    emitter: Emitter
    if direct:
        kind = RoundedEmitter if "int8" in stored and rounds(target) else DirectEmitter
        emitter = kind(planned, dtype, target, stored=stored, backward=backward, histories=histories)
    else:
        emitter = Emitter(planned, dtype, target, backward=backward, histories=histories)

    def write() -> ir.Module:
        emitter.emit()
        return emitter.module

    return Program(
        _link(_compiled(key, write, target), target),
        emitter.layout,
        tuple(planned.scratch),
        len(planned.reductions),
        emitter.lanes,
        emitter.rows_only,
        sum(emitter.layout.packed) + 10 * sum(node.channels for node in graph.nodes() if node.is_pointwise),
    )


def _compiled(key: str, write: Callable[[], ir.Module], target: Target) -> bytes:
    """Return the code of a module, from disk or newly written."""
    stored = _load(key)
    if stored is None:
        stored = _object_code(write(), target)
        _save(key, stored)
    return stored


def _object_code(module: ir.Module, target: Target) -> bytes:
    module.triple = llvm.get_process_triple()
    parsed = llvm.parse_assembly(str(module))
    made_for = machine(target)
    # what is written is in order already: the whole pipeline takes as long again, and the code is no faster
    builder = llvm.create_pass_builder(made_for, llvm.create_pipeline_tuning_options())
    passes = llvm.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    for function in parsed.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    code: bytes = made_for.emit_object(parsed)
    return code


def _link(code: bytes, target: Target) -> int:
    empty = llvm.parse_assembly("")
    engine = llvm.create_mcjit_compiler(empty, machine(target))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address("scan"))


def _load(key: str) -> bytes | None:
    folder = cache_directory()
    if folder is None:
        return None
    try:
        data = (folder / f"{key}.o").read_bytes()
    except OSError:
        return None
    digest, code = data[:32], data[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _save(key: str, code: bytes) -> None:
    """Keep code on disk, for oneself alone; a disk that is full or read-only is no reason to stop."""
    folder = cache_directory()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            made = Path(file.name)
            try:
                file.write(hashlib.sha256(code).digest() + code)
                file.close()
                made.replace(folder / f"{key}.o")
            except OSError:
                made.unlink(missing_ok=True)
