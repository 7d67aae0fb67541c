"""One native function that carries out a list of commands: loops, and the products and copies around them.

    run(commands, _, count, _, thread, threads, _, barrier)

A command is `WORDS` 64-bit words: what it is, then its arguments. Every thread of a team goes through the whole list
and does its share of each command; where one needs what another thread did, the list says to wait.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir

from recurra.engine.llvm.compiler import compile_module
from recurra.engine.llvm.frame import Frame, i, i1, i8, i64, pointer
from recurra.engine.llvm.matmul import MULTIPLY, PACK, Matmul
from recurra.engine.llvm.target import Target, host_target

__all__ = ["ARGUMENTS", "BARRIER", "WORDS", "Runner", "runner"]

WORDS = 24
ARGUMENTS = {
    "wait": (),
    "loop": ("function", "table", "strides", "steps", "rows", "flags", "barrier"),
    "pack": PACK,
    "multiply": MULTIPLY,
    "copy": ("goal", "source", "rows", "bytes"),
    "clear": ("goal", "bytes"),
    "total": ("goal", "parts", "count"),
}
"""Names of the arguments of each command.

copy: rows of so many bytes side by side, shared as a loop shares rows; zeros if the source is 0. clear: so many bytes
for each thread, side by side, each its own. total: the sum of as many parts, side by side, as there are threads."""
BARRIER = 1 + ARGUMENTS["loop"].index("barrier")
"""The word of a loop that its threads count in; 0 before."""


class Runner:
    """The function, and what who writes commands for it must know.

    Args:
        address: of the function.
        panel: columns of a packed panel.
        room: numbers that each thread needs to pack in.
    """

    def __init__(self, address: int, matmul: Matmul) -> None:
        self.address = address
        self.panel = matmul.panel
        self.room = matmul.room


def runner(dtype: str, target: Target | None = None) -> Runner:
    """Return the function for a type, compiled when it is first asked for.

    Args:
        target: another than this machine's, for tests.
    """
    return _runner(dtype, target or host_target())


@functools.cache
def _runner(dtype: str, target: Target) -> Runner:
    matmul = Matmul(dtype, target)
    return Runner(compile_module(lambda: _write(matmul), "commands", dtype, target), matmul)


def _write(matmul: Matmul) -> ir.Module:
    _Writer(matmul).write()
    return matmul.module


class _Writer:
    def __init__(self, matmul: Matmul) -> None:
        self.frame: Frame = matmul
        self.kernels = dict(zip(("pack", "multiply"), matmul.define(), strict=True))

    def write(self) -> None:
        frame = self.frame
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, i64, i64, i64, i64, i64, pointer])
        function = ir.Function(frame.module, kind, "scan")
        commands, _, count, _, frame.thread, frame.threads, _, frame.barrier = function.args
        frame.b = b = ir.IRBuilder(function.append_basic_block("entry"))
        frame.turn = b.alloca(i64)
        b.store(i(0), frame.turn)
        with frame.loop(i(0), count) as number:
            self.command = b.gep(commands, [b.mul(number, i(WORDS))], source_etype=i64)
            end = b.append_basic_block("done")
            switch = b.switch(self._word(0), end)
            for code, name in enumerate(ARGUMENTS):
                block = b.append_basic_block(name)
                switch.add_case(i(code), block)
                b.position_at_end(block)
                if name in self.kernels:
                    b.call(self.kernels[name], [self._place(1), frame.thread, frame.threads])
                else:
                    getattr(self, f"_{name}")(*(self._word(1 + n) for n in range(len(ARGUMENTS[name]))))
                b.branch(end)
            b.position_at_end(end)
        b.ret_void()

    def _place(self, number: int) -> Any:
        return self.frame.b.gep(self.command, [i(number)], source_etype=i64)

    def _word(self, number: int) -> Any:
        return self.frame.b.load(self._place(number), typ=i64)

    def _bytes(self, address: Any, offset: Any) -> Any:
        b = self.frame.b
        return b.inttoptr(b.add(address, offset), pointer)

    def _wait(self) -> None:
        self.frame.wait()

    def _loop(self, function: Any, table: Any, strides: Any, steps: Any, rows: Any, flags: Any, _: Any) -> None:
        b, frame = self.frame.b, self.frame
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, i64, i64, i64, i64, i64, pointer])
        table, strides = (b.inttoptr(word, pointer) for word in (table, strides))
        threads = (frame.thread, frame.threads)
        target = b.inttoptr(function, kind.as_pointer())
        b.call(target, [table, strides, steps, rows, *threads, flags, self._place(BARRIER)])

    def _copy(self, goal: Any, source: Any, rows: Any, size: Any) -> None:
        b, frame = self.frame.b, self.frame
        copy = frame.module.declare_intrinsic("llvm.memcpy", [pointer, pointer, i64])
        fill = frame.module.declare_intrinsic("llvm.memset", [pointer, i64])
        first, last = (b.mul(end, size) for end in frame.share(rows))
        length = b.sub(last, first)
        with b.if_else(b.icmp_signed("!=", source, i(0))) as (given, zero):
            with given:
                b.call(copy, [self._bytes(goal, first), self._bytes(source, first), length, i1(0)])
            with zero:
                b.call(fill, [self._bytes(goal, first), i8(0), length, i1(0)])

    def _clear(self, goal: Any, size: Any) -> None:
        b, frame = self.frame.b, self.frame
        fill = frame.module.declare_intrinsic("llvm.memset", [pointer, i64])
        b.call(fill, [self._bytes(goal, b.mul(frame.thread, size)), i8(0), size, i1(0)])

    def _total(self, goal: Any, parts: Any, count: Any) -> None:
        b, frame = self.frame.b, self.frame
        goal, parts = (b.inttoptr(word, pointer) for word in (goal, parts))
        with frame.loop(*frame.share(count)) as n:
            place = b.gep(goal, [n], source_etype=frame.real)
            b.store(b.load(b.gep(parts, [n], source_etype=frame.real), typ=frame.real), place)
            with frame.loop(i(1), frame.threads) as part:
                value = b.load(b.gep(parts, [b.add(n, b.mul(part, count))], source_etype=frame.real), typ=frame.real)
                b.store(b.fadd(b.load(place, typ=frame.real), value), place)
