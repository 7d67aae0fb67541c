"""Products that read matrices where they are, for few rows: a single step, or a short one.

Packing a matrix costs more than a step that reads it once, and a packed copy would not notice that the matrix has
changed. A channel's numbers lie side by side (those that `linear` multiplies do), so a channel is a dot product with
vectors along the input, and the lanes of a panel's channels are summed up across at the end.

A step is as fast as weights arrive. They are read in one direction at one step and in the other at the next: what was
read last is still in the cache then.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from recurra.engine.graph import Node
from recurra.engine.llvm.emitter import Emitter, i, i1, i32, i64
from recurra.engine.llvm.schedule import Group, Home, ProductSet

__all__ = ["REVERSED", "DirectEmitter"]

REVERSED = 4  # the flag: begin with the last channels
MANY, FEW = 16, 8  # dot products at once, with 32 and with 16 registers
ROWS = 4


class DirectEmitter(Emitter):
    """Writes one function whose matrices (K, N) have row stride 1; it asks for no packed ones."""

    def _lay_out(self) -> None:
        super()._lay_out()
        self.layout.packed = []
        self.layout.names = [name for name in self.layout.names if name[0] != "packed"]

    def _pack(self) -> None:
        pass

    def _tile(self, group: Group) -> tuple[int, int]:
        return (ROWS, 1) if group.sets else (1, 1)

    def _order(self, turn: Any, first: Any, last: Any) -> Any:
        b = self.b
        flag = b.and_(b.lshr(self.function.args[6], i(2)), i(1))
        backwards = b.trunc(b.xor(flag, b.and_(self.step, i(1))), i1)
        return b.select(backwards, b.sub(b.sub(b.add(first, last), i(1)), turn), turn)

    def _sum_up(self, group: Group, products: ProductSet, bundle: Any, start: Any, rows: int, offset: int) -> None:
        b = self.b
        at_once = MANY if self.target.tiles[0] > 10 else FEW
        count = min(self.lanes, max(1, at_once // (1 << (rows - 1).bit_length())))
        for gate, product in enumerate(products.products):
            channels = self._channels(group, product, bundle)
            parts: list[list[Any]] = [[] for _ in range(rows)]
            for n in range(0, self.lanes, count):
                sums = [[self.maths.splat(0.0)] * count for _ in range(rows)]
                for home, first_row, length in _runs(self.schedule.homes, product):
                    places = self._inputs(group, product, home, length, bundle, start, rows)
                    columns = [b.gep(c, [i(first_row)], source_etype=self.real) for c in channels[n : n + count]]
                    sums = self._dots(places, columns, length, sums)
                for part, line in zip(parts, sums, strict=True):
                    part.append(self._fold(line, 1))
            for r, part in enumerate(parts):
                at = r * self._width(group) + offset + gate
                total = self._fold(part, count)
                b.store(total, b.gep(self.scratch, [i(at)], source_etype=self.vec), align=64)

    def _channels(self, group: Group, product: Node, panel: Any) -> list[Any]:
        """Return where the numbers of each of a panel's channels begin; past the last, those of the last."""
        b = self.b
        weight, transposed, first_column, _, blocks = product.attributes
        assert not transposed, "only the step itself is done directly, and not its derivative"
        inner, size = self._inner_panels(group), group.channels // group.blocks
        stride, block_stride = (
            b.load(b.gep(self.strides, [i(3 * weight + n)], source_etype=i64), typ=i64) for n in (1, 2)
        )
        matrix, within = self.pointers["weight", weight], panel
        if blocks > 1:
            block, within = b.udiv(panel, i(inner)), b.urem(panel, i(inner))
            matrix = b.gep(matrix, [b.mul(block, block_stride)], source_etype=self.real)
        found = []
        for lane in range(self.lanes):
            channel = b.add(b.mul(within, i(self.lanes)), i(lane))
            if self._is_ragged(group):
                channel = b.select(b.icmp_signed("<", channel, i(size)), channel, i(size - 1))
            column = b.mul(b.add(channel, i(first_column)), stride)
            found.append(b.gep(matrix, [column], source_etype=self.real))
        return found

    def _inputs(
        self, group: Group, product: Node, home: Home, length: int, panel: Any, start: Any, rows: int
    ) -> list[Any]:
        """Return where the input of each row begins."""
        b = self.b
        base, width = self._base(home)
        column: Any = i(home.column)
        if product.attributes[4] > 1:
            column = b.add(column, b.mul(b.udiv(panel, i(self._inner_panels(group))), i(length)))
        return [
            b.gep(base, [b.add(b.mul(b.add(start, i(r)), i(width)), column)], source_etype=self.real)
            for r in range(rows)
        ]

    def _dots(self, places: list[Any], columns: list[Any], length: int, sums: list[list[Any]]) -> list[list[Any]]:
        """Add to each sum the products of a row and a channel, lane by lane."""
        whole = length // self.lanes * self.lanes
        if whole:
            b = self.b
            before, body, end = b.block, b.append_basic_block("k"), b.append_basic_block("k_end")
            b.branch(body)
            b.position_at_end(body)
            k = b.phi(i64)
            k.add_incoming(i(0), before)
            running = [[b.phi(self.vec) for _ in line] for line in sums]
            after = self._multiply(places, columns, k, None, running)
            following = b.add(k, i(self.lanes))
            k.add_incoming(following, body)
            for phis, old, new in zip(running, sums, after, strict=True):
                for phi, x, y in zip(phis, old, new, strict=True):
                    phi.add_incoming(x, before)
                    phi.add_incoming(y, body)
            b.cbranch(b.icmp_signed("<", following, i(whole)), body, end)
            b.position_at_end(end)
            sums = after
        if whole < length:
            lanes = [i1(lane < length - whole) for lane in range(self.lanes)]
            mask = ir.Constant(ir.VectorType(i1, self.lanes), lanes)
            sums = self._multiply(places, columns, i(whole), mask, sums)
        return sums

    def _multiply(
        self, places: list[Any], columns: list[Any], k: Any, mask: Any, sums: list[list[Any]]
    ) -> list[list[Any]]:
        b = self.b
        rows = [self._load(b.gep(place, [k], source_etype=self.real), mask) for place in places]
        weights = [self._load(b.gep(column, [k], source_etype=self.real), mask) for column in columns]
        return [
            [self.maths.fma(b, w, x, s) for w, s in zip(weights, line, strict=True)]
            for x, line in zip(rows, sums, strict=True)
        ]

    def _fold(self, vectors: list[Any], width: int) -> Any:
        """Return one vector for several: lane j · width + l is the sum of those lanes of vector j that equal l mod width.

        Each vector holds, at every lane l, a partial sum that belongs to l mod `width`.
        """
        while len(vectors) > 1:
            vectors = [
                self._fold_two(x, y, width) for x, y in zip(vectors[::2], vectors[1::2], strict=True)
            ]
            width *= 2
        return vectors[0]

    def _fold_two(self, x: Any, y: Any, width: int) -> Any:
        lanes = self.lanes
        lower = [lane if not lane & width else lanes + lane - width for lane in range(lanes)]
        upper = [lane + width if not lane & width else lanes + lane for lane in range(lanes)]
        kind = ir.VectorType(i32, lanes)
        return self.b.fadd(*(self.b.shuffle_vector(x, y, ir.Constant(kind, part)) for part in (lower, upper)))


def _runs(homes: dict[Node, Home], product: Node) -> list[tuple[Home, int, int]]:
    """Return the input as runs (home, first row of the matrix, length): pieces side by side in both are one."""
    _, _, _, first_rows, blocks = product.attributes
    runs: list[tuple[Home, int, int]] = []
    for piece, row in zip(product.inputs, first_rows, strict=True):
        home, length = homes[piece], piece.channels // blocks
        if runs and blocks == 1:
            last, first, width = runs[-1]
            if (last.kind, last.number, last.column + width) == home and first + width == row:
                runs[-1] = (last, first, width + length)
                continue
        runs.append((home, row, length))
    return runs
