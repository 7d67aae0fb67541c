"""The threads that run a native function: those of torch's own OpenMP, which wait awake between its operations.

Handing work to them takes about a microsecond, and no second set of threads competes with torch's for the cores. Where
that library is not to be found, Python threads do the same, at some seventy microseconds a call.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import llvmlite.binding as llvm
import torch
from llvmlite import ir

__all__ = ["Team", "team"]

Function = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
)


class Call(ctypes.Structure):
    """What every thread of a team is told; field by field as `_trampoline` reads it."""

    _fields_ = (
        ("function", ctypes.c_void_p),
        ("table", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("steps", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("flags", ctypes.c_int64),
        ("barrier", ctypes.c_int64),
        ("waited", ctypes.c_int64),
    )


class Team:
    """Runs ``function(table, strides, T, B, thread, threads, flags, barrier)`` in several threads at once.

    Args:
        fork: OpenMP's way to do so, and the function that each of its threads is to run; None for Python threads.
    """

    def __init__(self, fork: Callable[..., Any] | None = None, trampoline: int = 0) -> None:
        self._fork = fork
        self._trampoline = trampoline
        self._pool: ThreadPoolExecutor | None = None

    @property
    def fork_address(self) -> int:
        """Where OpenMP's function is, for native code that calls it; 0 without one."""
        return 0 if self._fork is None else ctypes.cast(self._fork, ctypes.c_void_p).value or 0  # type: ignore[arg-type]

    @property
    def trampoline(self) -> int:
        """Where the function is that each thread of OpenMP runs, given a `Call`; 0 without one."""
        return self._trampoline

    def run(self, address: int, table: int, strides: int, steps: int, rows: int, flags: int, threads: int) -> None:
        """Run the function at an address, and return when all threads have. The interpreter is free meanwhile."""
        if threads > 1 and self._fork is not None:
            call = Call(address, table, strides, steps, rows, flags, 0, 0)
            self._fork(self._trampoline, ctypes.addressof(call), threads, 0)
            return
        barrier = (ctypes.c_int64 * 2)()
        function = Function(address)

        def work(thread: int) -> None:
            function(table, strides, steps, rows, thread, threads, flags, ctypes.addressof(barrier))

        if threads == 1:
            work(0)
            return
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(work, thread) for thread in range(1, threads)]
            work(0)
            for other in others:
                other.result()


@functools.cache
def team() -> Team:
    """Return the threads that this process has."""
    found = _openmp()
    if found is None:
        return Team()
    fork, symbols = found
    for name, address in symbols.items():
        llvm.add_symbol(name, address)
    return Team(fork, _trampoline())


def _openmp() -> tuple[Callable[..., Any], dict[str, int]] | None:
    """Return OpenMP's fork and the addresses of what tells a thread its number, from the library that torch runs on."""
    for path in _libraries():
        try:
            library = ctypes.CDLL(path)
            fork = library.GOMP_parallel
            names = ("omp_get_thread_num", "omp_get_num_threads")
            symbols = {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in names}
        except (OSError, AttributeError):
            continue
        fork.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        fork.restype = None
        return fork, symbols
    return None


def _libraries() -> list[str]:
    """Return OpenMP libraries that are loaded already: a second copy would have threads of its own."""
    torch.get_num_threads()
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            paths = dict.fromkeys(line.split(maxsplit=5)[5].strip() for line in maps if "omp" in line and "/" in line)
    except OSError:
        return []
    return [path for path in paths if any(name in path.rpartition("/")[2] for name in ("libgomp", "libomp", "libiomp"))]


_trampolines: list[Any] = []


def _trampoline() -> int:
    """Compile what OpenMP runs in each thread: it asks for its number and calls the function of the `Call`."""
    pointer, i32, i64 = ir.PointerType(), ir.IntType(32), ir.IntType(64)
    module = ir.Module("team")
    module.triple = llvm.get_process_triple()
    asks = [ir.Function(module, ir.FunctionType(i32, []), n) for n in ("omp_get_thread_num", "omp_get_num_threads")]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer]), "work")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    (data,) = function.args

    def field(number: int, kind: Any) -> Any:
        return b.load(b.gep(data, [i64(8 * number)], source_etype=ir.IntType(8)), typ=kind)

    arguments = [field(1, pointer), field(2, pointer), field(3, i64), field(4, i64)]
    arguments += [b.zext(b.call(ask, []), i64) for ask in asks]
    arguments += [field(5, i64), b.gep(data, [i64(8 * 6)], source_etype=ir.IntType(8))]
    kinds = ir.FunctionType(ir.VoidType(), [pointer, pointer, i64, i64, i64, i64, i64, pointer])
    b.call(field(0, kinds.as_pointer()), arguments)
    b.ret_void()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    _trampolines.append(engine)
    return int(engine.get_function_address("work"))
