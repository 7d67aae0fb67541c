"""What any native function here is written with: loops, vectors in memory, and threads that share work and wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from llvmlite import ir

from recurra.engine.llvm.maths import Maths
from recurra.engine.llvm.target import Target

__all__ = ["Frame", "i", "i1", "i8", "i16", "i32", "i64", "loop", "pointer"]

i1, i8, i16, i32, i64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
pointer = ir.PointerType()


def i(value: int) -> Any:
    """Return a 64-bit constant."""
    return ir.Constant(i64, value)


@contextmanager
def loop(b: ir.IRBuilder, start: Any, stop: Any) -> Iterator[Any]:
    """Write a loop from start to stop around what is written within; yields the index."""
    before, head, body, end = b.block, *(b.append_basic_block(name) for name in ("head", "body", "end"))
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(i64)
    index.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", index, stop), body, end)
    b.position_at_end(body)
    yield index
    index.add_incoming(b.add(index, i64(1)), b.block)
    b.branch(head)
    b.position_at_end(end)


class Frame:
    """A module with one function in the making.

    Args:
        dtype: "float32" or "float64".
    """

    b: Any
    thread: Any
    threads: Any
    barrier: Any
    turn: Any
    patience = 2000
    """How often a thread looks whether the others are there before it gives its core away."""
    alone = 1
    """What it then says: for how many calls it is better to take one thread."""

    def __init__(self, dtype: str, target: Target) -> None:
        self.target = target
        self.lanes = target.lanes(dtype)
        self.bytes = 4 if dtype == "float32" else 8
        self.real = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.module = ir.Module("recurra")
        self.maths = Maths(self.module, dtype, self.lanes, target.name)  # type: ignore[arg-type]
        self.vec = self.maths.vec

    def loop(self, start: Any, stop: Any) -> AbstractContextManager[Any]:
        """Loop from start to stop; yields the index."""
        return loop(self.b, start, stop)

    def share(self, amount: Any) -> tuple[Any, Any]:
        """Return this thread's part of 0..amount."""
        b = self.b
        ends = (self.thread, b.add(self.thread, i(1)))
        start, stop = (b.sdiv(b.mul(amount, end), self.threads) for end in ends)
        return start, stop

    def wait(self) -> None:
        """Wait until all threads are here."""
        b = self.b
        with b.if_then(b.icmp_signed(">", self.threads, i(1))):
            turn = b.add(b.load(self.turn, typ=i64), i(1))
            b.store(turn, self.turn)
            b.call(self._meet(), [self.barrier, b.mul(turn, self.threads)])

    def _meet(self) -> Any:
        """A barrier: count up, then spin. When others take long: set the next word, and give the core away."""
        known = self.module.globals.get("meet")
        if known is not None:
            return known
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [pointer, i64]), "meet")
        function.linkage = "internal"
        function.attributes.add("noinline")
        give_way = ir.Function(self.module, ir.FunctionType(i32, []), "sched_yield")
        counter, goal = function.args
        b = ir.IRBuilder(function.append_basic_block("entry"))
        b.atomic_rmw("add", counter, i(1), "acq_rel")
        spin, patient, tired, done = (b.append_basic_block(name) for name in ("spin", "patient", "tired", "done"))
        entry = b.block
        b.branch(spin)
        b.position_at_end(spin)
        tries = b.phi(i64)
        tries.add_incoming(i(0), entry)
        here = b.load_atomic(counter, "acquire", 8, typ=i64)
        b.cbranch(b.icmp_signed("<", here, goal), patient, done)
        b.position_at_end(patient)
        more = b.add(tries, i(1))
        b.cbranch(b.icmp_signed(">", more, i(self.patience)), tired, spin)
        tries.add_incoming(more, patient)
        b.position_at_end(tired)
        b.store(i(self.alone), b.gep(counter, [i(1)], source_etype=i64))
        b.call(give_way, [])
        b.branch(spin)
        tries.add_incoming(i(0), tired)
        b.position_at_end(done)
        b.ret_void()
        return function

    def _spread(self, value: Any, kind: Any) -> Any:
        """Copy a number into all lanes."""
        undefined = ir.Constant(ir.VectorType(kind, self.lanes), ir.Undefined)
        lanes = ir.Constant(ir.VectorType(i32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(self.b.insert_element(undefined, value, i32(0)), undefined, lanes)

    def _load(self, place: Any, mask: Any) -> Any:
        b = self.b
        if mask is None:
            return b.load(place, align=self.bytes, typ=self.vec)
        return b.call(self._intrinsic("load"), [place, i32(self.bytes), mask, self.maths.splat(0.0)])

    def _save(self, value: Any, place: Any, mask: Any) -> None:
        b = self.b
        if mask is None:
            b.store(value, place, align=self.bytes)
        else:
            b.call(self._intrinsic("store"), [value, place, i32(self.bytes), mask])

    def _intrinsic(self, which: str) -> Any:
        letter = "f32" if self.bytes == 4 else "f64"
        name = f"llvm.masked.{which}.v{self.lanes}{letter}.p0"
        if name not in self.module.globals:
            mask = ir.VectorType(i1, self.lanes)
            kinds = {"load": [pointer, i32, mask, self.vec], "store": [self.vec, pointer, i32, mask]}[which]
            result = self.vec if which == "load" else ir.VoidType()
            ir.Function(self.module, ir.FunctionType(result, kinds), name)
        return self.module.globals[name]

    def _prefetch(self) -> Any:
        """LLVM's function (place, for writing, how near, data)."""
        name = "llvm.prefetch.p0"
        if name not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32]), name)
        return self.module.globals[name]

    def _allocate(self, vectors: int) -> Any:
        place = self.b.alloca(self.vec, size=vectors)
        place.align = 64
        return place
