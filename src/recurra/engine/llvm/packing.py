"""Matrices in the order in which products read them: one native function that copies a panel of columns.

    pack(source, stride_row, stride_column, columns, rows, goal, step)

writes ``goal[k * step + lane] = source[k * stride_row + lane * stride_column]`` for all rows k; lanes from `columns` on
become zero.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from recurra.engine.llvm.frame import Frame, i32, i64, loop, pointer

__all__ = ["packer", "transposed"]


def packer(emitter: Frame) -> Any:
    """Return the function in the module of an emitter, written there when it is first asked for."""
    known = emitter.module.globals.get("pack")
    return known if known is not None else _Packer(emitter).function


class _Packer:
    def __init__(self, emitter: Frame) -> None:
        self.real, self.vec, self.lanes, self.bytes = emitter.real, emitter.vec, emitter.lanes, emitter.bytes
        kind = ir.FunctionType(ir.VoidType(), [pointer, i64, i64, i64, i64, pointer, i64])
        self.function = ir.Function(emitter.module, kind, "pack")
        self.function.linkage = "internal"
        self.function.attributes.add("noinline")
        self.source, self.stride_row, self.stride_column, self.columns, self.rows, self.goal, self.step = (
            self.function.args
        )
        self.b = b = ir.IRBuilder(self.function.append_basic_block("entry"))
        is_full = b.icmp_signed(">=", self.columns, i64(self.lanes))
        unit_column = b.icmp_signed("==", self.stride_column, i64(1))
        with b.if_then(b.and_(is_full, unit_column)):
            with loop(b, i64(0), self.rows) as k:
                self._save(self._load(self._at(k, i64(0))), k)
            b.ret_void()
        b.position_at_end(b.block)
        unit_row = b.and_(is_full, b.icmp_signed("==", self.stride_row, i64(1)))
        tiles = b.select(unit_row, b.sdiv(self.rows, i64(self.lanes)), i64(0))
        with loop(b, i64(0), tiles) as tile:
            first = b.mul(tile, i64(self.lanes))
            columns = [self._load(self._at(first, i64(n))) for n in range(self.lanes)]
            for n, vector in enumerate(transposed(b, columns)):
                self._save(vector, b.add(first, i64(n)))
        with loop(b, i64(0), i64(self.lanes)) as lane:
            is_real = b.icmp_signed("<", lane, self.columns)
            column = b.select(is_real, lane, i64(0))  # lanes past the end read a column that is there
            with loop(b, b.mul(tiles, i64(self.lanes)), self.rows) as k:
                value = b.select(is_real, b.load(self._at(k, column), typ=self.real), self.real(0.0))
                place = b.gep(self.goal, [b.add(b.mul(k, self.step), lane)], source_etype=self.real)
                b.store(value, place)
        b.ret_void()

    def _at(self, row: Any, column: Any) -> Any:
        b = self.b
        offset = b.add(b.mul(row, self.stride_row), b.mul(column, self.stride_column))
        return b.gep(self.source, [offset], source_etype=self.real)

    def _load(self, place: Any) -> Any:
        return self.b.load(place, align=self.bytes, typ=self.vec)

    def _save(self, vector: Any, row: Any) -> None:
        b = self.b
        place = b.gep(self.goal, [b.mul(row, self.step)], source_etype=self.real)
        b.store(vector, place, align=self.bytes)


def transposed(b: ir.IRBuilder, lines: list[Any]) -> list[Any]:
    """Write instructions that swap lines and lanes of as many vectors as each has lanes: one bit of numbers a time."""
    lines, count, step = list(lines), len(lines), 1
    while step < count:
        low = [lane if not lane & step else count + lane - step for lane in range(count)]
        high = [lane + step if not lane & step else count + lane for lane in range(count)]
        for n in range(count):
            if not n & step:
                a, c = lines[n], lines[n + step]
                lines[n], lines[n + step] = (
                    b.shuffle_vector(a, c, ir.Constant(ir.VectorType(i32, count), order)) for order in (low, high)
                )
        step *= 2
    return lines
