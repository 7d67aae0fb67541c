"""Matrix products over many rows, for the threads of a team: what stands before and after a loop.

    C (M, N) = A (M, K) B (K, N)   or   C += A B

The right-hand matrix is packed into panels as wide as a tile first, by `pack`, and may then serve many products. Of the
left-hand one, a thread packs a block at a time, which stays in its second cache while panel after panel goes by. A tile
of C is summed up in registers over a part of K; that part of a panel stays in the first cache.

After Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from recurra.engine.llvm.frame import Frame, i, i1, i32, i64, pointer
from recurra.engine.llvm.packing import packer, transposed

__all__ = ["MULTIPLY", "PACK", "Matmul"]

WIDE = 2  # vectors of columns in a tile
DEPTH = 256  # of K that is summed up at once
TILES = 16  # of the left-hand matrix in a block
FEW = 4  # rows of the smaller kind of tile, for what is left at the end

PACK = ("B", "far", "near", "column", "groups", "group", "N", "packed", "packed_step", "own")
"""Arguments of `pack`: B[k, n] is at ``B + (k // group) far + (k % group) near + n column``.

own: does each thread pack its share of each group, `packed_step` numbers apart? Otherwise all pack one matrix."""

MULTIPLY = (
    *("A", "A_far", "A_near", "A_step", "A_column", "packed", "packed_step", "C", "C_far", "C_near", "C_step"),
    *("groups", "group", "k_groups", "k_group", "N", "adds", "split", "room", "room_size"),
)
"""Arguments of `multiply`. Rows come in groups: row m of A is at ``A + (m // group) A_far + (m % group) A_near``, and
likewise in C, whose columns lie side by side. So does K: ``+ (k // k_group) A_step + (k % k_group) A_column``.

split: 0 to share the rows of each group among threads, 1 to share all rows, 2 to share each group of K: then every
thread has a packed matrix and a result of its own, `packed_step` and `C_step` numbers apart.
room: where each thread has `room_size` numbers to pack in (`Matmul.room` says how many it needs)."""


class Matmul(Frame):
    """Writes `pack` and `multiply` into a module.

    Both are called by every thread of a team, with a pointer to their arguments, the thread's number, and how many
    there are. Sizes and distances are in numbers, not bytes.
    """

    @property
    def rows(self) -> int:
        """Rows of a tile: as many as there are registers for."""
        return 14 if self.target.tiles[0] > 10 else 6

    @property
    def panel(self) -> int:
        """Columns of a panel of the right-hand matrix."""
        return WIDE * self.lanes

    @property
    def room(self) -> int:
        """Numbers that a thread needs to pack a block of the left-hand matrix."""
        return TILES * self.rows * DEPTH

    def define(self) -> tuple[Any, Any]:
        """Write the functions; returns (pack, multiply)."""
        packer(self)
        return self._define("pack_panels", self._pack), self._define("multiply", self._multiply)

    def _define(self, name: str, write: Callable[[Callable[[int], Any]], None]) -> Any:
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [pointer, i64, i64]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        arguments, self.thread, self.threads = function.args
        self.b = b = ir.IRBuilder(function.append_basic_block("entry"))

        def argument(number: int) -> Any:
            return b.load(b.gep(arguments, [i(number)], source_etype=i64), typ=i64)

        write(argument)
        self.b.ret_void()
        return function

    def _at(self, base: Any, *offsets: Any) -> Any:
        for offset in offsets:
            base = self.b.gep(base, [offset], source_etype=self.real)
        return base

    def _pack(self, argument: Callable[[int], Any]) -> None:
        b = self.b
        given = dict(zip(PACK, map(argument, range(len(PACK))), strict=True))
        B, packed = b.inttoptr(given["B"], pointer), b.inttoptr(given["packed"], pointer)
        own = b.icmp_signed("!=", given["own"], i(0))
        packed = self._at(packed, b.select(own, b.mul(self.thread, given["packed_step"]), i(0)))
        start, stop = self.share(given["group"])
        start, stop = b.select(own, start, i(0)), b.select(own, stop, given["group"])
        mine, vectors = b.sub(stop, start), b.mul(i(WIDE), self._panels(given["N"]))
        ends = self.share(vectors)
        first, last = b.select(own, i(0), ends[0]), b.select(own, vectors, ends[1])
        K = b.mul(given["groups"], mine)
        with self.loop(first, last) as vector:
            column = b.mul(vector, i(self.lanes))
            panel = b.mul(b.mul(b.sdiv(vector, i(WIDE)), K), i(self.panel))
            goal = self._at(packed, panel, b.mul(b.srem(vector, i(WIDE)), i(self.lanes)))
            left = b.sub(given["N"], column)
            begun = b.icmp_signed(">", left, i(0))  # all lanes of a vector past the end are zeros
            source = self._at(B, b.select(begun, b.mul(column, given["column"]), i(0)), b.mul(start, given["near"]))
            with self.loop(i(0), given["groups"]) as group:
                place = self._at(source, b.mul(group, given["far"]))
                spot = self._at(goal, b.mul(b.mul(group, mine), i(self.panel)))
                b.call(packer(self), [place, given["near"], given["column"], left, mine, spot, i(self.panel)])

    def _panels(self, N: Any) -> Any:
        return self.b.sdiv(self.b.add(N, i(self.panel - 1)), i(self.panel))

    def _multiply(self, argument: Callable[[int], Any]) -> None:
        b = self.b
        given = dict(zip(MULTIPLY, map(argument, range(len(MULTIPLY))), strict=True))
        for name in ("A", "packed", "C", "room"):
            given[name] = b.inttoptr(given[name], pointer)
        block = self._at(given["room"], b.mul(self.thread, given["room_size"]))
        self.places = b.alloca(pointer, size=TILES * self.rows)
        rows = self._find_rows(given)
        start, mine = self._find_depth(given)
        first, last, group, skipped = rows
        chunks = b.sdiv(b.add(mine, i(DEPTH - 1)), i(DEPTH))
        at_once = b.select(b.icmp_signed(">", chunks, i(1)), i(1), b.sdiv(i(DEPTH), mine))
        spans = b.sdiv(b.sub(b.add(given["k_groups"], at_once), i(1)), at_once)
        blocks = b.sdiv(b.add(b.sub(last, first), i(TILES * self.rows - 1)), i(TILES * self.rows))
        K = b.mul(given["k_groups"], mine)
        with self.loop(i(0), spans) as span, self.loop(i(0), chunks) as chunk, self.loop(i(0), blocks) as number:
            t0, t1 = (b.sdiv(b.mul(given["k_groups"], end), spans) for end in (span, b.add(span, i(1))))
            c0, c1 = (b.sdiv(b.mul(mine, end), chunks) for end in (chunk, b.add(chunk, i(1))))
            depth = b.mul(b.sub(t1, t0), b.sub(c1, c0))
            begin = b.add(first, b.mul(number, i(TILES * self.rows)))
            count = b.sub(last, begin)
            count = b.select(b.icmp_signed("<", count, i(TILES * self.rows)), count, i(TILES * self.rows))
            tiles = b.sdiv(b.add(count, i(self.rows - 1)), i(self.rows))
            ks = (t0, t1, b.add(start, c0), b.add(start, c1), depth)
            with self.loop(i(0), tiles) as tile:
                self._pack_tile(given, block, tile, (begin, count, group, skipped), ks)
            is_later = b.icmp_signed(">", b.add(span, chunk), i(0))
            adds = b.or_(b.icmp_signed("!=", given["adds"], i(0)), is_later)
            k0 = b.add(b.mul(t0, mine), c0)
            with self.loop(i(0), self._panels(given["N"])) as panel:
                column = b.mul(panel, i(self.panel))
                right = self._at(given["packed"], b.mul(column, K), b.mul(k0, i(self.panel)))
                left, ahead = b.sub(given["N"], column), self._at(right, b.mul(K, i(self.panel)))  # the next panel
                with self.loop(i(0), tiles) as tile:
                    row = b.mul(tile, i(self.rows))
                    places = b.gep(self.places, [row], source_etype=pointer)
                    lefts = self._at(block, b.mul(row, depth))
                    half = b.select(b.icmp_signed(">", tile, i(0)), i(self.lanes), i(0))
                    arguments = [lefts, right, places, column, depth, adds, left, self._at(ahead, half)]
                    with b.if_else(b.icmp_signed("<=", b.sub(count, row), i(FEW))) as (small, large):
                        with small:
                            b.call(self._tile_function(FEW), arguments)
                        with large:
                            b.call(self._tile_function(self.rows), arguments)

    def _find_rows(self, given: dict[str, Any]) -> tuple[Any, ...]:
        """Return this thread's rows: first, last, how many in a group, and how many of each group it skips."""
        b = self.b
        all_rows = b.mul(given["groups"], given["group"])
        within, across = self.share(given["group"]), self.share(all_rows)
        by_group, by_row = (b.icmp_signed("==", given["split"], i(n)) for n in (0, 1))
        group = b.select(by_group, b.sub(within[1], within[0]), given["group"])
        first = b.select(by_row, across[0], i(0))
        last = b.select(by_row, across[1], b.mul(given["groups"], group))
        return first, last, group, b.select(by_group, within[0], i(0))

    def _find_depth(self, given: dict[str, Any]) -> tuple[Any, Any]:
        """Return where this thread's part of a group of K begins, and its length; find its matrices."""
        b = self.b
        by_depth = b.icmp_signed("==", given["split"], i(2))
        for name in ("packed", "C"):
            step = b.mul(self.thread, given[f"{name}_step"])
            given[name] = self._at(given[name], b.select(by_depth, step, i(0)))
        start, stop = self.share(given["k_group"])
        return b.select(by_depth, start, i(0)), b.select(by_depth, b.sub(stop, start), given["k_group"])

    def _pack_tile(
        self, given: dict[str, Any], block: Any, tile: Any, rows: tuple[Any, ...], ks: tuple[Any, ...]
    ) -> None:
        """Copy a tile of the left-hand matrix, part of K by part of rows, and note where its rows are in C."""
        b = self.b
        (begin, count, group, skipped), (t0, t1, c0, c1, depth) = rows, ks
        sources = []
        first = b.mul(tile, i(self.rows))
        for r in range(self.rows):
            number = b.add(first, i(r))
            is_real = b.icmp_signed("<", number, count)
            m = b.add(begin, b.select(is_real, number, first))  # a row past the end reads one that is there
            far, near = b.sdiv(m, group), b.add(skipped, b.srem(m, group))
            sources.append(self._at(given["A"], b.mul(far, given["A_far"]), b.mul(near, given["A_near"])))
            goal = self._at(given["C"], b.mul(far, given["C_far"]), b.mul(near, given["C_near"]))
            goal = b.select(is_real, goal, ir.Constant(pointer, None))
            b.store(goal, b.gep(self.places, [number], source_etype=pointer))
        goal = self._at(block, b.mul(first, depth))
        lies_along_k = b.and_(b.icmp_signed("==", given["A_column"], i(1)), b.icmp_signed("!=", given["split"], i(2)))
        with b.if_else(lies_along_k) as (along, across):
            with along:
                lines = [self._at(source, c0) for source in sources]
                whole = b.and_(depth, i(-self.lanes))
                for start in range(0, self.rows, self.lanes):
                    self._pack_rows(lines[start : start + self.lanes], self._at(goal, i(start)), whole)
                with self.loop(whole, depth) as k:
                    for r, line in enumerate(lines):
                        value = b.load(self._at(line, k), typ=self.real)
                        b.store(value, self._at(goal, b.mul(k, i(self.rows)), i(r)))
            with across:
                left = b.sub(count, first)
                masks = {start: self._mask(b.sub(left, i(start))) for start in range(0, self.rows, self.lanes)}
                with self.loop(t0, t1) as t:
                    step = b.mul(t, given["A_step"])
                    before = b.sub(b.mul(b.sub(t, t0), b.sub(c1, c0)), c0)
                    with self.loop(c0, c1) as c:
                        source = self._at(sources[0], step, b.mul(c, given["A_column"]))
                        place = self._at(goal, b.mul(b.add(before, c), i(self.rows)))
                        for start, mask in masks.items():
                            value = self._load(self._at(source, i(start)), mask)
                            self._put(value, self._at(place, i(start)), start)

    def _pack_rows(self, sources: list[Any], goal: Any, whole: Any) -> None:
        b = self.b
        begin = self.rows - len(sources) if len(sources) < self.lanes else 0
        sources = sources + sources[:1] * (self.lanes - len(sources))
        with self.loop(i(0), b.sdiv(whole, i(self.lanes))) as turn:
            k = b.mul(turn, i(self.lanes))
            lines = [self._load(self._at(source, k), None) for source in sources]
            for n, vector in enumerate(transposed(b, lines)):
                self._put(vector, self._at(goal, b.mul(b.add(k, i(n)), i(self.rows))), begin)

    def _put(self, vector: Any, place: Any, begin: int) -> None:
        """Store rows `begin` and on of a tile, no more than there are."""
        count = self.rows - begin
        self._save(vector, place, None if count >= self.lanes else self._mask(i(count)))

    def _mask(self, count: Any) -> Any:
        lanes = ir.Constant(ir.VectorType(i32, self.lanes), list(range(self.lanes)))
        return self.b.icmp_signed("<", lanes, self._spread(self.b.trunc(count, i32), i32))

    def _tile_function(self, rows: int) -> Any:
        """Return ``tile(left, right, places, column, depth, adds, columns, ahead)``: a tile's sums, stored or added."""
        name = f"tile{rows}"
        known = self.module.globals.get(name)
        if known is not None:
            return known
        kinds = [pointer, pointer, pointer, i64, i64, i1, i64, pointer]
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), kinds), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        left, right, places, column, depth, adds, columns, ahead = function.args
        outer, self.b = self.b, ir.IRBuilder(function.append_basic_block("entry"))
        b = self.b
        trash = b.alloca(self.vec, size=WIDE)
        goals = []
        for r in range(rows):
            goal = b.load(b.gep(places, [i(r)], source_etype=pointer), typ=pointer)
            is_real = b.icmp_unsigned("!=", goal, ir.Constant(pointer, None))
            goals.append(b.select(is_real, self._at(goal, column), trash))
        for goal in goals:  # rows of C lie far apart, and nobody else asks for them in time
            for v in range(WIDE):
                b.call(self._prefetch(), [self._at(goal, i(v * self.lanes)), i32(1), i32(3), i32(1)])
        sums = self._sum_up(left, right, ahead, depth, rows)
        is_whole = b.icmp_signed(">=", columns, i(self.panel))
        with b.if_else(is_whole) as (whole, ragged):
            with whole:
                self._deliver(sums, goals, adds, [None] * WIDE)
            with ragged:
                masks = [self._mask(b.sub(columns, i(v * self.lanes))) for v in range(WIDE)]
                self._deliver(sums, goals, adds, masks)
        b.ret_void()
        self.b = outer
        return function

    def _sum_up(self, left: Any, right: Any, ahead: Any, depth: Any, rows: int) -> list[list[Any]]:
        b = self.b
        before, body, end = b.block, b.append_basic_block("k"), b.append_basic_block("k_end")
        b.branch(body)
        b.position_at_end(body)
        k = b.phi(i64)
        k.add_incoming(i(0), before)
        running = [[b.phi(self.vec) for _ in range(WIDE)] for _ in range(rows)]
        line = self._at(right, b.mul(k, i(self.panel)))
        weights = [self._load(self._at(line, i(v * self.lanes)), None) for v in range(WIDE)]
        b.call(self._prefetch(), [self._at(ahead, b.mul(k, i(self.panel))), i32(0), i32(2), i32(1)])
        values = self._at(left, b.mul(k, i(self.rows)))
        after = []
        for r, sums in enumerate(running):
            value = self._spread(b.load(self._at(values, i(r)), typ=self.real), self.real)
            after.append([self.maths.fma(b, value, w, s) for w, s in zip(weights, sums, strict=True)])
        following = b.add(k, i(1))
        k.add_incoming(following, body)
        for phis, new in zip(running, after, strict=True):
            for phi, y in zip(phis, new, strict=True):
                phi.add_incoming(self.maths.splat(0.0), before)
                phi.add_incoming(y, body)
        b.cbranch(b.icmp_signed("<", following, depth), body, end)
        b.position_at_end(end)
        return after

    def _deliver(self, sums: list[list[Any]], goals: list[Any], adds: Any, masks: list[Any]) -> None:
        places = [[self._at(goal, i(v * self.lanes)) for v in range(WIDE)] for goal in goals]
        with self.b.if_else(adds) as (more, first):
            with more:
                for line, spots in zip(sums, places, strict=True):
                    for value, spot, mask in zip(line, spots, masks, strict=True):
                        self._save(self.b.fadd(self._load(spot, mask), value), spot, mask)
            with first:
                for line, spots in zip(sums, places, strict=True):
                    for value, spot, mask in zip(line, spots, masks, strict=True):
                        self._save(value, spot, mask)
