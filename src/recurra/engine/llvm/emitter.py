"""A scheduled graph as one native function that runs all steps: the loops, and what stands in them.

    scan(table, strides, T, B, thread, threads, flags, barrier)

`table` holds a pointer per array (`Layout.names` tells which), `strides` two numbers per matrix. Threads share either the
rows, and then never meet, or the channels, and then wait for each other after each stage.
`flags`: 1 to share rows, 2 if matrices are packed already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir

from recurra.engine.graph import Graph, Node
from recurra.engine.llvm.maths import Maths
from recurra.engine.llvm.packing import packer
from recurra.engine.llvm.pointwise import INSTRUCTIONS
from recurra.engine.llvm.schedule import MAX_GATES, Group, Home, ProductSet, Schedule
from recurra.engine.llvm.target import Target

__all__ = ["Emitter", "Layout"]

i1, i32, i64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
pointer = ir.PointerType()
PREFETCHED = 16  # rows of a matrix between asking for weights and reading them


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


class Emitter:
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
        self.schedule = schedule
        self.graph: Graph = schedule.graph
        self.target = target
        self.backward = backward
        self.histories = histories
        self.lanes = target.lanes(dtype)
        self.bytes = 4 if dtype == "float32" else 8
        self.real = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.module = ir.Module("recurra")
        self.maths = Maths(self.module, dtype, self.lanes, target.name)  # type: ignore[arg-type]
        self.vec = self.maths.vec
        self.layout = Layout()
        self.sets: list[tuple[Group, ProductSet]] = [
            (group, products) for stage in schedule.stages for group in stage for products in group.sets
        ]
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
        first, last = self._share(self.B)
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

    def _allocate(self, vectors: int) -> Any:
        place = self.b.alloca(self.vec, size=vectors)
        place.align = 64
        return place

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int = 1) -> Iterator[Any]:
        """Loop from start to stop; yields the index."""
        b = self.b
        before, head, body, end = b.block, *(b.append_basic_block(name) for name in ("head", "body", "end"))
        b.branch(head)
        b.position_at_end(head)
        index = b.phi(i64)
        index.add_incoming(start, before)
        b.cbranch(b.icmp_signed("<", index, stop), body, end)
        b.position_at_end(body)
        yield index
        index.add_incoming(b.add(index, i(step)), b.block)
        b.branch(head)
        b.position_at_end(end)

    def _share(self, amount: Any) -> tuple[Any, Any]:
        """Return this thread's part of 0..amount."""
        b = self.b
        ends = (self.thread, b.add(self.thread, i(1)))
        return tuple(b.sdiv(b.mul(amount, end), self.threads) for end in ends)  # type: ignore[return-value]

    def _wait(self) -> None:
        """Wait until all threads are here."""
        b = self.b
        with b.if_then(b.icmp_signed(">", self.threads, i(1))):
            turn = b.add(b.load(self.turn, typ=i64), i(1))
            b.store(turn, self.turn)
            b.call(self._meet(), [self.barrier, b.mul(turn, self.threads)])

    def _meet(self) -> Any:
        """A barrier: count up, then spin; give the core away when others take long."""
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
        b.cbranch(b.icmp_signed(">", more, i(2000)), tired, spin)
        tries.add_incoming(more, patient)
        b.position_at_end(tired)
        b.call(give_way, [])
        b.branch(spin)
        tries.add_incoming(i(0), tired)
        b.position_at_end(done)
        b.ret_void()
        return function

    # panels and tiles

    def _inner_panels(self, group: Group) -> int:
        """Panels of each block."""
        return -(-(group.channels // group.blocks) // self.lanes)

    def _panels(self, group: Group) -> int:
        return group.blocks * self._inner_panels(group)

    def _tile(self, group: Group) -> tuple[int, int]:
        """Return (rows, panels) that are computed at once."""
        if not group.sets:
            return 1, 1
        gates = max(len(products.products) for products in group.sets)
        inner = self._inner_panels(group)
        panels = max(n for n in range(1, 5) if inner % n == 0 and (n == 1 or n * gates <= MAX_GATES))
        return self.target.tiles[min(gates * panels, 4) - 1], panels

    def _width(self, group: Group) -> int:
        """Vectors of sums per row of a tile."""
        return sum(len(products.products) for products in group.sets) * self._tile(group)[1]

    def _is_ragged(self, group: Group) -> bool:
        return (group.channels // group.blocks) % self.lanes != 0

    def _column(self, group: Group, panel: Any) -> tuple[Any, Any]:
        """Return the first channel of a panel, and the mask of its lanes (None: all)."""
        b, inner, size = self.b, self._inner_panels(group), group.channels // group.blocks
        if group.blocks == 1:
            within, column = b.mul(panel, i(self.lanes)), b.mul(panel, i(self.lanes))
        else:
            within = b.mul(b.urem(panel, i(inner)), i(self.lanes))
            column = b.add(b.mul(b.udiv(panel, i(inner)), i(size)), within)
        if not self._is_ragged(group):
            return column, None
        left = b.trunc(b.sub(i(size), within), i32)
        lanes = ir.Constant(ir.VectorType(i32, self.lanes), list(range(self.lanes)))
        return column, b.icmp_signed("<", lanes, self._spread(left, i32))

    def _spread(self, value: Any, kind: Any) -> Any:
        """Copy a number into all lanes."""
        undefined = ir.Constant(ir.VectorType(kind, self.lanes), ir.Undefined)
        lanes = ir.Constant(ir.VectorType(i32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(self.b.insert_element(undefined, value, i32(0)), undefined, lanes)

    # memory

    def _array_width(self, home: Home) -> int:
        graph = self.graph
        if home.kind == "stream":
            return graph.streams[home.number].width
        if home.kind == "emit":
            return sum(piece.channels for piece in graph.emits[home.number])
        return self.schedule.scratch[home.number] if home.kind == "scratch" else graph.carries[home.number]

    def _base(self, home: Home) -> tuple[Any, int]:
        """Return the pointer to an array at this step, and its width."""
        return self.bases[home.kind, home.number], self._array_width(home)

    def _find_bases(self) -> None:
        """Compute the pointers to all arrays at this step."""
        b, graph = self.b, self.graph
        self.bases: dict[tuple[str, int], Any] = {}
        counts = {"stream": len(graph.streams), "emit": len(graph.emits), "scratch": len(self.schedule.scratch)}
        counts |= {"carry": len(graph.carries), "next": len(graph.carries)}
        for home in (Home(kind, number, 0) for kind, count in counts.items() for number in range(count)):
            slot = self._slot(home)
            offset = i(0) if slot is None else b.mul(b.mul(slot, self.B), i(self._array_width(home)))
            name = "carry" if home.kind == "next" else home.kind
            self.bases[home.kind, home.number] = b.gep(
                self.pointers[name, home.number], [offset], source_etype=self.real
            )

    def _slot(self, home: Home) -> Any:
        b = self.b
        if home.kind == "stream":
            array = self.graph.streams[home.number]
            return b.add(self.t, i(array.shift)) if array.per_step else None
        if home.kind == "emit":
            return self.t
        if home.kind in ("carry", "next"):
            slot = self.step if home.kind == "carry" else b.add(self.step, i(1))
            return slot if home.number in self.histories else b.and_(slot, i(1))
        return None

    def _place(self, home: Home, row: Any, column: Any) -> Any:
        base, width = self._base(home)
        offset = self.b.add(self.b.mul(row, i(width)), i(home.column))
        return self.b.gep(base, [self.b.add(offset, column)], source_etype=self.real)

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

    # packing: matrices in the order in which products read them

    def _pack(self) -> None:
        b = self.b
        for number, (group, products) in enumerate(self.sets):
            tile = self._tile(group)[1]
            gates, rows = len(products.products), products.rows
            first, last = self._share(i(self._panels(group) // tile))
            with self.loop(first, last) as bundle:
                base = b.mul(bundle, i(rows * gates * tile * self.lanes))
                place = b.gep(self.pointers["packed", number], [base], source_etype=self.real)
                for gate, product in enumerate(products.products):
                    with self.loop(i(0), i(tile)) as panel:
                        vector = b.add(i(gate * tile), panel)
                        self._pack_panel(
                            group, product, b.add(b.mul(bundle, i(tile)), panel), place, vector, gates * tile
                        )
        if self.sets:
            self._wait()

    def _pack_panel(self, group: Group, product: Node, panel: Any, place: Any, vector: Any, vectors: int) -> None:
        b = self.b
        weight, transposed, first_column, first_rows, blocks = product.attributes
        inner, size = self._inner_panels(group), group.channels // group.blocks
        stride_row, stride_column, stride_block = (
            b.load(b.gep(self.strides, [i(3 * weight + n)], source_etype=i64), typ=i64) for n in range(3)
        )
        if transposed:
            stride_row, stride_column = stride_column, stride_row
        matrix = self.pointers["weight", weight]
        within = b.mul(b.urem(panel, i(inner)), i(self.lanes))
        if blocks > 1:
            offset = b.mul(b.udiv(panel, i(inner)), stride_block)
            matrix = b.gep(matrix, [offset], source_etype=self.real)
        row = 0
        for piece, first_row in zip(product.inputs, first_rows, strict=True):
            count = piece.channels // blocks
            first = b.add(b.mul(b.add(within, i(first_column)), stride_column), b.mul(i(first_row), stride_row))
            source = b.gep(matrix, [first], source_etype=self.real)
            at = b.mul(b.add(vector, i(row * vectors)), i(self.lanes))
            goal = b.gep(place, [at], source_etype=self.real)
            left = b.sub(i(size), within)
            b.call(packer(self), [source, stride_row, stride_column, left, i(count), goal, i(vectors * self.lanes)])
            row += count

    # a stage

    def _stage(self, number: int, stage: list[Group]) -> None:
        self.level = number
        self._reset_reductions(stage)
        for group in stage:
            self._group(group)
        self._finish_reductions(stage)
        if self.schedule.mixes_channels:
            with self.b.if_then(self.b.not_(self.by_rows)):
                self._wait()

    def _group(self, group: Group) -> None:
        b = self.b
        rows, tile = self._tile(group)
        first, last = self._share(i(self._panels(group) // tile))
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

    def _products(self, group: Group, bundle: Any, start: Any, count: Any) -> None:
        """Sum up the products of a tile, for as many rows as there are, and leave them in the scratch on the stack."""
        b = self.b
        rows, tile = self._tile(group)
        end = b.append_basic_block("summed")
        cases = [b.append_basic_block(f"rows{n}") for n in range(1, rows + 1)]
        switch = b.switch(count, end)
        for n, block in enumerate(cases, 1):
            switch.add_case(i(n), block)
            b.position_at_end(block)
            offset = 0
            for products in group.sets:
                self._sum_up(group, products, bundle, start, n, offset)
                offset += len(products.products) * tile
            b.branch(end)
        b.position_at_end(end)

    def _sum_up(self, group: Group, products: ProductSet, bundle: Any, start: Any, rows: int, offset: int) -> None:
        b = self.b
        tile = self._tile(group)[1]
        vectors = len(products.products) * tile
        number = next(n for n, (_, known) in enumerate(self.sets) if known is products)
        weights = b.gep(
            self.pointers["packed", number],
            [b.mul(bundle, i(products.rows * vectors * self.lanes))],
            source_etype=self.real,
        )
        sums = [[self.maths.splat(0.0)] * vectors for _ in range(rows)]
        k0 = 0
        for home, length in self._runs(products):
            base, width = self._base(home)
            column: Any = i(home.column)
            if products.blocks > 1:
                block = b.udiv(bundle, i(self._inner_panels(group) // tile))
                column = b.add(column, b.mul(block, i(length)))
            places = [
                b.gep(base, [b.add(b.mul(b.add(start, i(r)), i(width)), column)], source_etype=self.real)
                for r in range(rows)
            ]
            sums = self._inner_loop(places, weights, k0, length, vectors, sums)
            k0 += length
        for r in range(rows):
            for v in range(vectors):
                at = r * self._width(group) + offset + v
                b.store(sums[r][v], b.gep(self.scratch, [i(at)], source_etype=self.vec), align=64)

    def _runs(self, products: ProductSet) -> list[tuple[Home, int]]:
        """Return the input as runs of memory: pieces that lie side by side are one."""
        runs: list[tuple[Home, int]] = []
        for piece in products.inputs:
            home, length = self.schedule.homes[piece], piece.channels // products.blocks
            if runs and products.blocks == 1:
                last, width = runs[-1]
                if (last.kind, last.number, last.column + width) == home:
                    runs[-1] = (last, width + length)
                    continue
            runs.append((home, length))
        return runs

    def _inner_loop(
        self, places: list[Any], weights: Any, k0: int, length: int, vectors: int, sums: list[list[Any]]
    ) -> list[list[Any]]:
        b = self.b
        before, body, end = b.block, b.append_basic_block("k"), b.append_basic_block("k_end")
        b.branch(body)
        b.position_at_end(body)
        k = b.phi(i64)
        k.add_incoming(i(0), before)
        running = [[b.phi(self.vec) for _ in line] for line in sums]
        at = b.mul(b.add(k, i(k0)), i(vectors * self.lanes))
        lines = [
            b.load(
                b.gep(weights, [b.add(at, i(v * self.lanes))], source_etype=self.real), align=self.bytes, typ=self.vec
            )
            for v in range(vectors)
        ]
        for v in range(vectors):  # weights stream from the second cache: ask for them in time
            soon = b.add(at, i((v + PREFETCHED * vectors) * self.lanes))
            b.call(self._prefetch(), [b.gep(weights, [soon], source_etype=self.real), i32(0), i32(3), i32(1)])
        after = []
        for place, line in zip(places, running, strict=True):
            value = self._spread(b.load(b.gep(place, [k], source_etype=self.real), typ=self.real), self.real)
            after.append([self.maths.fma(b, value, w, s) for w, s in zip(lines, line, strict=True)])
        following = b.add(k, i(1))
        k.add_incoming(following, body)
        for phis, old, new in zip(running, sums, after, strict=True):
            for phi, x, y in zip(phis, old, new, strict=True):
                phi.add_incoming(x, before)
                phi.add_incoming(y, body)
        b.cbranch(b.icmp_signed("<", following, i(length)), body, end)
        b.position_at_end(end)
        return after

    def _prefetch(self) -> Any:
        name = "llvm.prefetch.p0"
        if name not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32]), name)
        return self.module.globals[name]

    # what follows the products, for one row and panel

    def _epilogue(self, group: Group, row: Any, panel: Any, sums: Any) -> None:
        column, mask = self._column(group, panel)
        made: dict[Node, Any] = {}
        order = {}
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

    def _fetch(self, place: Any, node: Node, mask: Any) -> Any:
        if node.channels == 1:
            return self._spread(self.b.load(place, typ=self.real), self.real)
        return self._load(place, mask)

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


def i(value: int) -> Any:
    """Return a 64-bit constant."""
    return ir.Constant(i64, value)
