"""A scheduled graph as one native function that runs all steps: the loops, and what stands in them.

    scan(table, strides, T, B, thread, threads, flags, barrier)

`table` holds a pointer per array (`Layout.names` tells which), `strides` three numbers per matrix: from row to row,
from column to column, from block to block. Threads share either the rows, and then never meet, or the channels, and
then wait for each other after each stage.
`flags`: 1 to share rows, 2 if matrices are packed already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir

from recurra.engine.graphs.graph import Node
from recurra.engine.llvm.frame import i, i1, i32, i64, pointer
from recurra.engine.llvm.pointwise import INSTRUCTIONS
from recurra.engine.llvm.products import Products
from recurra.engine.llvm.schedule import Group, Schedule
from recurra.engine.llvm.target import Target

__all__ = ["Emitter", "Layout"]


@dataclass
class Layout:
    """What the table of pointers holds, and how large what the engine itself provides must be.

    Args:
        names: (kind, number) of each array.
        packed: numbers in each packed matrix.
        sums: shape of each sum per thread: blocks, numbers that a block takes up, and how many of these count.
    """

    names: list[tuple[str, int]] = field(default_factory=list)
    packed: list[int] = field(default_factory=list)
    sums: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def sums_size(self) -> int:
        """Numbers that all sums of a thread take up, side by side."""
        return sum(blocks * padded for blocks, padded, _ in self.sums)


class Emitter(Products):
    """Writes one function.

    Args:
        schedule: what to compute.
        dtype: "float32" or "float64".
        backward: run from the last step to the first.
        histories: leaves of the state of which all steps are kept; of the others, two.
    """

    def __init__(
        self, schedule: Schedule, dtype: str, target: Target, *, backward: bool, histories: frozenset[int]
    ) -> None:
        super().__init__(schedule, dtype, target, backward=backward, histories=histories)
        self.layout = Layout()
        self.rows_only = bool(schedule.reductions)
        self._lay_out()

    def emit(self) -> None:
        """Write the function into the module."""
        self._function()

    # the frame

    def _function(self) -> None:
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, i64, i64, i64, i64, i64, pointer])
        self.function = ir.Function(self.module, kind, "scan")
        names = ("table", "strides", "T", "B", "thread", "threads", "flags", "barrier")
        for argument, name in zip(self.function.args, names, strict=True):
            argument.name = name
        self.table, self.strides, self.T, self.B, self.thread, self.threads, flags, self.barrier = self.function.args
        self.b = b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.by_rows = b.or_(b.trunc(flags, i1), i1(int(self.rows_only)))
        self.pointers: dict[tuple[str, int], Any] = {}
        self._load_pointers()
        self.scratch = self._allocate(
            max((self._tile(group)[0] * self._width(group) for group, _ in self.sets), default=1)
        )
        self.turn = b.alloca(i64)
        b.store(i(0), self.turn)
        with b.if_then(b.icmp_signed("==", b.and_(flags, i(2)), i(0))):
            self._pack()
        first, last = self.share(self.B)
        self.row0, self.row1 = (b.select(self.by_rows, x, y) for x, y in ((first, i(0)), (last, self.B)))
        with self.loop(i(0), self.T) as step:
            self.step = step
            self.t = b.sub(b.sub(self.T, i(1)), step) if self.backward else step
            self._find_bases()
            for number, stage in enumerate(self.schedule.stages):
                self._stage(number, stage)
        b.ret_void()

    def _lay_out(self) -> None:
        schedule, graph = self.schedule, self.graph
        counts = {
            "stream": len(graph.streams),
            "vector": len(graph.vectors),
            "carry": len(graph.carries),
            "emit": len(graph.emits),
            "weight": len(graph.weights),
            "packed": len(self.sets),
            "scratch": len(schedule.scratch),
            "row": 2 * len(schedule.reductions),
            "sum": len(graph.sums),
        }
        self.layout.names = [(kind, number) for kind, count in counts.items() for number in range(count)]
        for group, products in self.sets:
            panels = self._panels(group)
            self.layout.packed.append(panels * products.rows * len(products.products) * self.lanes)
        shapes = {
            number: (group.blocks, self._inner_panels(group) * self.lanes, group.channels // group.blocks)
            for stage in schedule.stages
            for group in stage
            for number, _ in group.sums
        }
        self.layout.sums = [shapes[number] for number in range(len(graph.sums))]

    def _load_pointers(self) -> None:
        for place, name in enumerate(self.layout.names):
            at = self.b.gep(self.table, [i(place)], source_etype=pointer)
            self.pointers[name] = self.b.load(at, typ=pointer)

    # a stage

    def _stage(self, number: int, stage: list[Group]) -> None:
        self.level = number
        self._reset_reductions(stage)
        for group in stage:
            self._group(group)
        self._finish_reductions(stage)
        if self.schedule.mixes_channels:
            with self.b.if_then(self.b.not_(self.by_rows)):
                self.wait()

    def _group(self, group: Group) -> None:
        b = self.b
        rows, tile = self._tile(group)
        first, last = self.share(i(self._panels(group) // tile))
        first = b.select(self.by_rows, i(0), first)
        last = b.select(self.by_rows, i(self._panels(group) // tile), last)
        if not group.sets:
            with self.loop(self.row0, self.row1) as row, self.loop(first, last) as panel:
                self._epilogue(group, row, panel, None)
            return
        mine = b.sub(self.row1, self.row0)
        tiles = b.sdiv(b.add(mine, i(rows - 1)), i(rows))
        with b.if_then(b.icmp_signed(">", mine, i(0))), self.loop(first, last) as turn:
            bundle = self._order(turn, first, last)
            with self.loop(i(0), tiles) as n:  # as equal as can be: no tile is much smaller than the others
                start, stop = (b.add(self.row0, b.sdiv(b.mul(mine, end), tiles)) for end in (n, b.add(n, i(1))))
                self._products(group, bundle, start, b.sub(stop, start))
                with self.loop(start, stop) as row, self.loop(i(0), i(tile)) as panel:
                    sums = b.add(b.mul(b.sub(row, start), i(self._width(group))), panel)
                    self._epilogue(group, row, b.add(b.mul(bundle, i(tile)), panel), sums)

    def _order(self, turn: Any, first: Any, last: Any) -> Any:
        """Return which of first..last is computed in this turn."""
        return turn

    # what follows the products, for one row and panel

    def _epilogue(self, group: Group, row: Any, panel: Any, sums: Any) -> None:
        column, mask = self._column(group, panel)
        made: dict[Node, Any] = {}
        order: dict[Node, int] = {}
        tile = self._tile(group)[1]
        for products in group.sets:
            for product in products.products:
                order[product] = len(order) * tile

        def value(node: Node) -> Any:
            if node not in made:
                made[node] = self._value(node, row, column, mask, value, order, sums)
            return made[node]

        for reduction in group.reductions:
            self._reduce(reduction, value(reduction.inputs[0]), row, mask)
        for number, node in group.sums:
            self._accumulate(number, value(node), panel)
        for node, homes in group.stores:
            result = value(node)
            if node.is_boolean:
                result = self.b.select(result, self.maths.splat(1.0), self.maths.splat(0.0))
            for home in homes:
                self._save(result, self._place(home, row, column), mask)

    def _value(
        self,
        node: Node,
        row: Any,
        column: Any,
        mask: Any,
        value: Callable[[Node], Any],
        order: dict[Node, int],
        sums: Any,
    ) -> Any:
        b, schedule = self.b, self.schedule
        if node.op == "constant":
            return self.maths.splat(node.attributes[0])
        if node.op == "channel":
            number, first = node.attributes
            at = i(first) if node.channels == 1 else b.add(i(first), column)
            place = b.gep(self.pointers["vector", number], [at], source_etype=self.real)
            return self._fetch(place, node, mask)
        if node in schedule.reductions:
            number = 2 * schedule.reductions.index(node) + 1
            place = b.gep(self.pointers["row", number], [row], source_etype=self.real)
            return self._spread(b.load(place, typ=self.real), self.real)
        is_here = schedule.levels.get(node) == self.level
        if node.op == "product" and is_here:
            place = b.gep(self.scratch, [b.add(sums, i(order[node]))], source_etype=self.vec)
            return b.load(place, align=64, typ=self.vec)
        if node in schedule.homes and not is_here:
            home = schedule.homes[node]
            place = self._place(home, row, i(0) if node.channels == 1 else column)
            found = self._fetch(place, node, mask)
            return b.fcmp_unordered("!=", found, self.maths.splat(0.0)) if node.is_boolean else found
        return INSTRUCTIONS[node.op](self.maths, b, node, *(value(part) for part in node.inputs))

    # sums over channels, and over rows and steps

    def _neutral(self, reduction: Node) -> float:
        return 0.0 if reduction.op == "total" else float("-inf")

    def _partial(self, reduction: Node, row: Any) -> Any:
        number = 2 * self.schedule.reductions.index(reduction)
        return self.b.gep(self.pointers["row", number], [self.b.mul(row, i(self.lanes))], source_etype=self.real)

    def _combine(self, reduction: Node, x: Any, y: Any) -> Any:
        return self.b.fadd(x, y) if reduction.op == "total" else self.maths.maximum(self.b, x, y)

    def _reset_reductions(self, stage: list[Group]) -> None:
        reductions = [node for group in stage for node in group.reductions]
        if reductions:
            with self.loop(self.row0, self.row1) as row:
                for node in reductions:
                    self._save(self.maths.splat(self._neutral(node)), self._partial(node, row), None)

    def _reduce(self, reduction: Node, value: Any, row: Any, mask: Any) -> None:
        b, place = self.b, self._partial(reduction, row)
        if mask is not None:
            value = b.select(mask, value, self.maths.splat(self._neutral(reduction)))
        self._save(self._combine(reduction, self._load(place, None), value), place, None)

    def _finish_reductions(self, stage: list[Group]) -> None:
        b = self.b
        reductions = [node for group in stage for node in group.reductions]
        if not reductions:
            return
        with self.loop(self.row0, self.row1) as row:
            for node in reductions:
                value = self._load(self._partial(node, row), None)
                width = self.lanes
                while width > 1:  # fold the upper half onto the lower
                    width //= 2
                    upper = [width + lane if lane < width else lane for lane in range(self.lanes)]
                    undefined = ir.Constant(self.vec, ir.Undefined)
                    shuffle = ir.Constant(ir.VectorType(i32, self.lanes), upper)
                    value = self._combine(node, value, b.shuffle_vector(value, undefined, shuffle))
                number = 2 * self.schedule.reductions.index(node) + 1
                place = b.gep(self.pointers["row", number], [row], source_etype=self.real)
                b.store(b.extract_element(value, i32(0)), place)

    def _accumulate(self, number: int, value: Any, panel: Any) -> None:
        b = self.b
        offset = b.add(b.mul(self.thread, i(self.layout.sums_size)), b.mul(panel, i(self.lanes)))
        place = b.gep(self.pointers["sum", number], [offset], source_etype=self.real)
        self._save(b.fadd(self._load(place, None), value), place, None)
