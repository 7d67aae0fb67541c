"""Products that read matrices where they are, for few rows: a single step, or a short one.

Packing a matrix costs more than a step that reads it once, and a packed copy would not notice that the matrix has
changed. A channel's numbers lie side by side (those that `linear` multiplies do), so a channel is a dot product with
vectors along the input, and the lanes of a panel's channels are summed up across at the end.

A step is as fast as weights arrive. They are read in one direction at one step and in the other at the next: what was
read last is still in the cache then.

Matrices may be stored in fewer bytes (`recurra.engine.quantised`): their numbers become float32 as they are read, and a
channel's sum is multiplied by its scale. `recurra.engine.llvm.rounded` does better with int8 on most processors.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from recurra.engine.graphs.graph import Node
from recurra.engine.llvm.emitter import Emitter
from recurra.engine.llvm.frame import i, i1, i8, i16, i32, i64, pointer
from recurra.engine.llvm.schedule import Group, Home, ProductSet, Schedule
from recurra.engine.llvm.target import Target

__all__ = ["AT_ONCE", "FEW", "MANY", "REVERSED", "DirectEmitter", "runs"]

REVERSED = 4  # the flag: begin with the last channels
MANY, FEW = 16, 8  # sums at once, with 32 and with 16 registers
AT_ONCE = 4  # channels at once: an addition's latency is hidden, and few streams are read best
ROWS = 4
LEAST_PATIENCE = 400_000  # a fifth of a millisecond or more: a thread that wakes up from sleep takes less
LEAST_ALONE = 16


class DirectEmitter(Emitter):
    """Writes one function whose matrices (K, N) have row stride 1; it asks for no packed ones.

    Args:
        stored: what each matrix is stored as, a name of `recurra.engine.quantised.WEIGHTS`; empty: all as computed.
        others: as of `Emitter`.
    """

    ahead: Any
    """From a channel's numbers to those of the one that is read after it."""

    def __init__(
        self, schedule: Schedule, dtype: str, target: Target, *, stored: tuple[str, ...] = (), **others: Any
    ) -> None:
        self.stored = stored or (dtype,) * len(schedule.graph.weights)
        super().__init__(schedule, dtype, target, **others)
        self.elements = {dtype: self.real, "bf16": i16, "int8": i8}

    def _lay_out(self) -> None:
        super()._lay_out()
        self.layout.packed = []
        self.layout.names = [name for name in self.layout.names if name[0] != "packed"]
        self.layout.names += [("scale", number) for number, kind in enumerate(self.stored) if kind == "int8"]
        numbers = sum(weight.rows * weight.columns * weight.blocks for weight in self.graph.weights)
        self.patience = max(LEAST_PATIENCE, numbers // 16)  # about a third of a step
        self.alone = max(LEAST_ALONE, (1 << 28) // max(1, numbers))  # some 30 milliseconds

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
        for gate, product in enumerate(products.products):
            self._sum_up_one(group, product, bundle, start, rows, offset + gate)

    def _sum_up_one(self, group: Group, product: Node, bundle: Any, start: Any, rows: int, offset: int) -> None:
        b = self.b
        weight, _, _, _, blocks = product.attributes
        kind = self.stored[weight]
        dots = self._dots(rows, kind)
        matrix, stride, last = self._matrix(group, product, bundle)
        scale = [self._scale(group, product, bundle)] if kind == "int8" else []
        at = b.gep(self.scratch, [i(offset)], source_etype=self.vec)
        for n, (home, first_row, length) in enumerate(runs(self.schedule.homes, product)):
            base, width = self._base(home)
            column: Any = i(home.column)
            if blocks > 1:
                column = b.add(column, b.mul(b.udiv(bundle, i(self._inner_panels(group))), i(length)))
            x = b.gep(base, [b.add(b.mul(start, i(width)), column)], source_etype=self.real)
            weights = b.gep(matrix, [i(first_row)], source_etype=self.elements[kind])
            sizes = (i(width), i(length), i1(n > 0))
            b.call(dots, [weights, stride, last, x, *sizes, at, i(self._width(group)), *scale])

    def _matrix(self, group: Group, product: Node, panel: Any) -> tuple[Any, Any, Any]:
        """Return where the first channel of a panel begins, the distance to the next, and the number of the last."""
        b = self.b
        weight, transposed, first_column, _, blocks = product.attributes
        assert not transposed, "only the step itself is done directly, and not its derivative"
        inner, size = self._inner_panels(group), group.channels // group.blocks
        stride, block_stride = (
            b.load(b.gep(self.strides, [i(3 * weight + n)], source_etype=i64), typ=i64) for n in (1, 2)
        )
        element = self.elements[self.stored[weight]]
        matrix, within = self.pointers["weight", weight], panel
        if blocks > 1:
            block, within = b.udiv(panel, i(inner)), b.urem(panel, i(inner))
            matrix = b.gep(matrix, [b.mul(block, block_stride)], source_etype=element)
        channel = b.mul(within, i(self.lanes))
        place = b.mul(b.add(channel, i(first_column)), stride)
        last = b.sub(i(size - 1), channel) if self._is_ragged(group) else i(self.lanes - 1)
        return b.gep(matrix, [place], source_etype=element), stride, last

    def _scale(self, group: Group, product: Node, panel: Any) -> Any:
        """Return the scales of a panel's channels: those of a matrix lie side by side, block after block."""
        b = self.b
        weight, _, first_column, _, blocks = product.attributes
        inner, block, within = self._inner_panels(group), i(0), panel
        if blocks > 1:
            block, within = b.udiv(panel, i(inner)), b.urem(panel, i(inner))
        first = b.add(b.mul(block, i(self.graph.weights[weight].columns)), i(first_column))
        place = b.add(first, b.mul(within, i(self.lanes)))
        mask = self._column(group, panel)[1]
        return self._load(b.gep(self.pointers["scale", weight], [place], source_etype=self.real), mask)

    def _dots(self, rows: int, kind: str) -> Any:
        """The products of so many rows with the channels of a panel; one function, as it is long and often called.

        dots(matrix, stride, last, x, width, length, adds, sums, sums_width[, scales])

        Channels past the last are computed as it is. `adds`: to what is in `sums` already.
        """
        name = f"dots{rows}_{kind}"
        if name in self.module.globals:
            return self.module.globals[name]
        kinds = [pointer, i64, i64, pointer, i64, i64, i1, pointer, i64] + [self.vec] * (kind == "int8")
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), kinds), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        matrix, stride, last, x, width, length, adds, sums, sums_width, *scales = function.args
        outer, self.b = self.b, ir.IRBuilder(function.append_basic_block("entry"))
        b = self.b
        at_once = (MANY if self.target.tiles[0] > 10 else FEW) // (1 << (rows - 1).bit_length())
        count = min(self.lanes, AT_ONCE, at_once)
        places = [b.gep(x, [b.mul(width, i(r))], source_etype=self.real) for r in range(rows)]
        parts: list[list[Any]] = [[] for _ in range(rows)]
        self.ahead = b.mul(stride, i(count))
        for first in range(0, self.lanes, count):
            columns = []
            for lane in range(first, first + count):
                channel = b.select(b.icmp_signed("<", i(lane), last), i(lane), last)
                columns.append(b.gep(matrix, [b.mul(channel, stride)], source_etype=self.elements[kind]))
            for part, line in zip(parts, self._sum_lanes(places, columns, length, kind), strict=True):
                part.append(self._fold(line, 1))
        for r, part in enumerate(parts):
            at = b.gep(sums, [b.mul(sums_width, i(r))], source_etype=self.vec)
            before = b.select(adds, b.load(at, align=64, typ=self.vec), self.maths.splat(0.0))
            total = self._fold(part, count)
            total = b.fmul(total, scales[0]) if scales else total
            b.store(b.fadd(before, total), at, align=64)
        b.ret_void()
        self.b = outer
        return function

    def _sum_lanes(self, places: list[Any], columns: list[Any], length: Any, kind: str) -> list[list[Any]]:
        """Return for each row and column a vector whose lanes add up to their product."""
        b = self.b
        step, zero = self._turn(kind)
        whole = b.and_(length, i(-step))
        before, body, rest = b.block, b.append_basic_block("k"), b.append_basic_block("rest")
        ragged, end = b.append_basic_block("ragged"), b.append_basic_block("end")
        b.cbranch(b.icmp_signed(">", whole, i(0)), body, rest)
        b.position_at_end(body)
        k = b.phi(i64)
        k.add_incoming(i(0), before)
        running = [[b.phi(zero.type) for _ in columns] for _ in places]
        after = self._multiply(places, columns, k, None, running, kind)
        following = b.add(k, i(step))
        k.add_incoming(following, body)
        b.cbranch(b.icmp_signed("<", following, whole), body, rest)
        b.position_at_end(rest)
        sums = [[b.phi(zero.type) for _ in columns] for _ in places]
        left = b.sub(length, whole)
        b.cbranch(b.icmp_signed(">", left, i(0)), ragged, end)
        b.position_at_end(ragged)
        numbers = ir.Constant(ir.VectorType(i32, step), list(range(step)))
        mask = b.icmp_signed("<", numbers, self._copies(b.trunc(left, i32), step))
        last = self._multiply(places, columns, whole, mask, sums, kind)
        b.branch(end)
        b.position_at_end(end)
        results = [[b.phi(zero.type) for _ in columns] for _ in places]
        for r in range(len(places)):
            for c in range(len(columns)):
                running[r][c].add_incoming(zero, before)
                running[r][c].add_incoming(after[r][c], body)
                sums[r][c].add_incoming(zero, before)
                sums[r][c].add_incoming(after[r][c], body)
                results[r][c].add_incoming(sums[r][c], rest)
                results[r][c].add_incoming(last[r][c], ragged)
        return results

    def _turn(self, kind: str) -> tuple[int, Any]:
        """Return how many numbers of the input are multiplied in a turn, and the sums at the beginning."""
        return self.lanes, self.maths.splat(0.0)

    def _copies(self, value: Any, count: int) -> Any:
        """Copy a 32-bit number into so many lanes."""
        kind = ir.VectorType(i32, count)
        first = self.b.insert_element(ir.Constant(kind, ir.Undefined), value, i32(0))
        return self.b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(kind, [0] * count))

    def _multiply(
        self, places: list[Any], columns: list[Any], k: Any, mask: Any, sums: list[list[Any]], kind: str
    ) -> list[list[Any]]:
        b = self.b
        rows = [self._load(b.gep(place, [k], source_etype=self.real), mask) for place in places]
        element = self.elements[kind]
        self._ask_ahead(columns, k, element, kind)
        weights = [self._widen(b.gep(column, [k], source_etype=element), mask, kind) for column in columns]
        return [
            [self.maths.fma(b, w, x, s) for w, s in zip(weights, line, strict=True)]
            for x, line in zip(rows, sums, strict=True)
        ]

    def _ask_ahead(self, columns: list[Any], k: Any, element: Any, kind: str) -> None:
        """Ask for the weights of the channels that follow: several streams in one page are too much for prefetchers."""
        if kind not in ("bf16", "int8", "digits"):
            return
        b = self.b
        for column in columns:
            place = b.gep(column, [b.add(k, self.ahead)], source_etype=element)
            b.call(self._prefetch(), [place, i32(0), i32(3), i32(1)])

    def _widen(self, place: Any, mask: Any, kind: str) -> Any:
        """Load the weights of a vector, and make them what is computed with."""
        b = self.b
        if kind not in ("bf16", "int8"):
            return self._load(place, mask)
        narrow = self._load_narrow(place, mask, self.elements[kind], self.lanes)
        wide = ir.VectorType(i32, self.lanes)
        if kind == "int8":
            return b.sitofp(b.sext(narrow, wide), self.vec)
        sixteen = ir.Constant(wide, [16] * self.lanes)
        return b.bitcast(b.shl(b.zext(narrow, wide), sixteen), self.vec)  # the first half of a float32

    def _load_narrow(self, place: Any, mask: Any, element: Any, count: int) -> Any:
        kind, size = ir.VectorType(element, count), element.width // 8
        if mask is None:
            return self.b.load(place, align=size, typ=kind)
        name = f"llvm.masked.load.v{count}i{element.width}.p0"
        if name not in self.module.globals:
            arguments = [pointer, i32, ir.VectorType(i1, count), kind]
            ir.Function(self.module, ir.FunctionType(kind, arguments), name)
        zeros = ir.Constant(kind, [0] * count)
        return self.b.call(self.module.globals[name], [place, i32(size), mask, zeros])

    def _fold(self, vectors: list[Any], width: int) -> Any:
        """Return one vector for several: lane j · width + l is the sum of the lanes of vector j that are l mod width.

        Each vector holds, at every lane l, a partial sum that belongs to l mod `width`.
        """
        while len(vectors) > 1:
            vectors = [self._fold_two(x, y, width) for x, y in zip(vectors[::2], vectors[1::2], strict=True)]
            width *= 2
        return vectors[0]

    def _fold_two(self, x: Any, y: Any, width: int) -> Any:
        lanes = self.lanes
        lower = [lane if not lane & width else lanes + lane - width for lane in range(lanes)]
        upper = [lane + width if not lane & width else lanes + lane for lane in range(lanes)]
        kind = ir.VectorType(i32, lanes)
        return self.b.fadd(*(self.b.shuffle_vector(x, y, ir.Constant(kind, part)) for part in (lower, upper)))


def runs(homes: dict[Node, Home], product: Node) -> list[tuple[Home, int, int]]:
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
