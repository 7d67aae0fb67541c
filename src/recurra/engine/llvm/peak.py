"""The peak of this machine: how many float32 multiply-adds it does when nothing else is in the way."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir

__all__ = ["VectorUnit", "host_vector_unit", "measure_peak"]

BEST_OF = 24
SECONDS = 0.01
PAUSE_S = 0.01
"""Between two measurements, so that they do not all fall into one busy moment of the machine."""
FIRST_GUESS = 1 << 16
FLOAT, INDEX = ir.FloatType(), ir.IntType(64)


class VectorUnit(NamedTuple):
    """What the host multiplies with: float32 lanes of a register, and how many registers there are."""

    name: str
    lanes: int
    registers: int

    @property
    def chains(self) -> int:
        """Independent sums that hide the latency of one multiply-add and leave registers for its two factors."""
        return self.registers * 3 // 4


def host_vector_unit() -> VectorUnit:
    """Return the widest vector unit of this processor."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return VectorUnit("AVX-512", 16, 32)
    if features.get("avx"):
        return VectorUnit("AVX2" if features.get("avx2") else "AVX", 8, 16)
    if platform.machine().lower() in ("arm64", "aarch64"):
        return VectorUnit("NEON", 4, 32)
    return VectorUnit("128-bit vectors", 4, 16)


def measure_peak(threads: int) -> float:
    """Return the float32 multiply-add peak, the best of several measurements.

    Args:
        threads: how many run at the same time.
    Units: GF/s, 10⁹ operations per second; a multiply-add is two.
    """
    unit = host_vector_unit()
    function, _engine = _compile(unit)
    operations = 2 * unit.lanes * unit.chains
    with ThreadPoolExecutor(threads) as pool:
        seconds = _together(pool, threads, function, unit, FIRST_GUESS)
        count = max(FIRST_GUESS, round(FIRST_GUESS * SECONDS / seconds))
        best = seconds * count / FIRST_GUESS
        for _ in range(BEST_OF):
            time.sleep(PAUSE_S)
            best = min(best, _together(pool, threads, function, unit, count))
    return operations * count * threads / best / 1e9


def _together(
    pool: ThreadPoolExecutor, threads: int, function: Callable[..., None], unit: VectorUnit, count: int
) -> float:
    """Return seconds from the first start to the last end; ctypes gives the interpreter lock back while it calls."""
    ready = Barrier(threads)

    def run(_: int) -> tuple[float, float]:
        result = (ctypes.c_float * unit.lanes)()
        ready.wait()
        started = time.perf_counter()
        function(result, 0.5, 1.0, count)
        return started, time.perf_counter()

    starts, ends = zip(*pool.map(run, range(threads)), strict=True)
    return float(max(ends) - min(starts))


def _compile(unit: VectorUnit) -> tuple[Callable[..., None], Any]:
    """Return the native function and what must live as long as it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(str(_module(unit)))
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_float, ctypes.c_float, ctypes.c_int64)
    return signature(engine.get_function_address("multiply_adds")), (engine, machine)


def _module(unit: VectorUnit) -> ir.Module:
    """Build ``multiply_adds(result, a, b, count)``: s = a s + b, `count` times over in every chain.

    The chains end in one sum that is stored, and a and b come from outside, so that nothing can be computed beforehand.
    `fmuladd` is one instruction where the processor has one, and a multiplication and an addition elsewhere.
    """
    vector = ir.VectorType(FLOAT, unit.lanes)
    module = ir.Module("peak")
    module.triple = llvm.get_default_triple()
    multiply_add = ir.Function(module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{unit.lanes}f32")
    signature = ir.FunctionType(ir.VoidType(), [FLOAT.as_pointer(), FLOAT, FLOAT, INDEX])
    function = ir.Function(module, signature, "multiply_adds")
    result, a, b, count = function.args
    entry, body, done = (function.append_basic_block(name) for name in ("entry", "body", "done"))
    builder = ir.IRBuilder(entry)
    a, b = (_broadcast(builder, value, vector) for value in (a, b))
    builder.branch(body)

    builder.position_at_end(body)
    i = builder.phi(INDEX)
    sums = [builder.phi(vector) for _ in range(unit.chains)]
    following = [builder.call(multiply_add, [s, a, b]) for s in sums]
    next_i = builder.add(i, INDEX(1))
    for k, (s, after) in enumerate(zip(sums, following, strict=True)):
        s.add_incoming(ir.Constant(vector, [float(k)] * unit.lanes), entry)
        s.add_incoming(after, body)
    i.add_incoming(INDEX(0), entry)
    i.add_incoming(next_i, body)
    builder.cbranch(builder.icmp_signed("<", next_i, count), body, done)

    builder.position_at_end(done)
    total = following[0]
    for after in following[1:]:
        total = builder.fadd(total, after)
    builder.store(total, builder.bitcast(result, vector.as_pointer()), align=4)
    builder.ret_void()
    return module


def _broadcast(builder: ir.IRBuilder, value: Any, vector: ir.VectorType) -> Any:
    filled = ir.Constant(vector, ir.Undefined)
    for lane in range(vector.count):
        filled = builder.insert_element(filled, value, ir.IntType(32)(lane))
    return filled
