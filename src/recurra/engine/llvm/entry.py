"""From Python into a native function with a single argument: what a step that takes microseconds can afford.

A call from Python costs more for every argument, and a torch operation costs more than copying a state does. So all is
said in one array of 64-bit words, and a native function copies states in and out and starts the threads.

Threads that share a step wait for each other, and where another process has a core, for as long as that keeps it:
milliseconds, for a step of microseconds. So after such a wait the next call takes one thread, and from one such wait to
the next that follows it twice as many do, up to what the step says that waited. Results are the same with any number of
threads.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from recurra.engine.llvm.direct import REVERSED
from recurra.engine.llvm.target import initialise
from recurra.engine.llvm.team import team

__all__ = [
    "BARRIER",
    "BASES",
    "FLAGS",
    "FUNCTION",
    "LEAF_WORDS",
    "NUM_LEAVES",
    "ROWS",
    "STEPS",
    "STRIDES",
    "TABLE",
    "THREADS",
    "enter",
    "has_threads",
]

# Places of the words; the first eight are what `team.Call` holds.
FUNCTION, TABLE, STRIDES, STEPS, ROWS, FLAGS, BARRIER, WAITED, THREADS, NUM_LEAVES, BASES = range(11)
"""At the word that BASES points to, `LEAF_WORDS` words for each leaf of the state: where its two turns are, its size
in bytes, the words that hold the addresses of where it comes from (0: zeros) and goes to, and what to add to these."""
LEAF_WORDS = 5

i8, i32, i64, pointer = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.PointerType()
_engines: list[Any] = []


def has_threads() -> bool:
    """Can a native function start threads, without Python?"""
    initialise()
    return team().fork_address != 0


@functools.cache
def enter() -> Callable[[int], None]:
    """Return the function that is called with the address of the words. The interpreter is free meanwhile."""
    initialise()
    module = ir.Module("entry")
    module.triple = llvm.get_process_triple()
    _write(module)
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2)
    parsed = llvm.parse_assembly(str(module))
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _engines.append(engine)
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address("enter"))


def _write(module: ir.Module) -> None:
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer]), "enter")
    (words,) = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    copy = module.declare_intrinsic("llvm.memcpy", [pointer, pointer, i64])
    fill = module.declare_intrinsic("llvm.memset", [pointer, i64])
    false = ir.Constant(ir.IntType(1), 0)

    alone, penalty = (ir.GlobalVariable(module, i64, name) for name in ("alone", "penalty"))
    for variable in (alone, penalty):
        variable.initializer, variable.linkage = i64(0), "internal"

    def word(place: Any, kind: Any = i64) -> Any:
        place = i64(place) if isinstance(place, int) else place
        return b.load(b.gep(words, [place], source_etype=i64), typ=kind)

    def after(address: Any, distance: Any) -> Any:
        return b.gep(address, [distance], source_etype=i8)

    def for_each_leaf(do: Callable[[Callable[[int], Any]], None]) -> None:
        count, before = word(NUM_LEAVES), b.block
        body, end = b.append_basic_block("leaf"), b.append_basic_block("leaves")
        b.cbranch(b.icmp_signed(">", count, i64(0)), body, end)
        b.position_at_end(body)
        n = b.phi(i64)
        n.add_incoming(i64(0), before)
        first = b.add(word(BASES), b.mul(n, i64(LEAF_WORDS)))
        do(lambda field, kind=i64: word(b.add(first, i64(field)), kind))  # type: ignore[misc]
        following = b.add(n, i64(1))
        n.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, count), body, end)
        b.position_at_end(end)

    def come(field: Any) -> None:
        source = word(field(2), pointer)
        is_given = b.icmp_unsigned("!=", source, ir.Constant(pointer, None))
        with b.if_else(is_given) as (given, zero):
            with given:
                b.call(copy, [field(0, pointer), after(source, field(4)), field(1), false])
            with zero:
                b.call(fill, [field(0, pointer), i8(0), field(1), false])

    def go(field: Any) -> None:
        turn = b.mul(b.and_(word(STEPS), i64(1)), field(1))
        b.call(copy, [after(word(field(3), pointer), field(4)), after(field(0, pointer), turn), field(1), false])

    for_each_leaf(come)
    for place in (BARRIER, WAITED):
        b.store(i64(0), b.gep(words, [i64(place)], source_etype=i64))
    threads, left = word(THREADS), b.load(alone, typ=i64)
    shares = b.and_(b.icmp_signed(">", threads, i64(1)), b.icmp_signed("==", left, i64(0)))
    with b.if_else(shares) as (several, one):
        with several:
            kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, i32, i32])
            fork = b.inttoptr(i64(team().fork_address), kind.as_pointer())
            work = b.inttoptr(i64(team().trampoline), pointer)
            b.call(fork, [work, words, b.trunc(threads, i32), i32(0)])
            most, before = word(WAITED), b.load(penalty, typ=i64)
            twice = b.add(b.add(before, before), i64(1))
            next_penalty = b.select(b.icmp_signed("<", twice, most), twice, most)  # 0 if nobody waited
            b.store(next_penalty, penalty)
            b.store(next_penalty, alone)
        with one:
            kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, i64, i64, i64, i64, i64, pointer])
            target = word(FUNCTION, kind.as_pointer())
            barrier = b.gep(words, [i64(BARRIER)], source_etype=i64)
            given = [word(TABLE, pointer), word(STRIDES, pointer), word(STEPS), word(ROWS)]
            b.call(target, [*given, i64(0), i64(1), word(FLAGS), barrier])
            with b.if_then(b.icmp_signed(">", threads, i64(1))):
                b.store(b.sub(left, i64(1)), alone)
    for_each_leaf(go)
    b.store(b.xor(word(FLAGS), i64(REVERSED)), b.gep(words, [i64(FLAGS)], source_etype=i64))
    b.ret_void()
