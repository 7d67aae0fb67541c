"""Products inside a loop: matrices packed into panels, and sums of a tile of rows and panels held in registers."""

from __future__ import annotations

from typing import Any

from recurra.engine.graphs.graph import Node
from recurra.engine.llvm.frame import i, i32, i64
from recurra.engine.llvm.memory import Memory
from recurra.engine.llvm.packing import packer
from recurra.engine.llvm.schedule import Group, Home, ProductSet

__all__ = ["Products"]

PREFETCHED = 16  # rows of a matrix between asking for weights and reading them


class Products(Memory):
    """A function that multiplies; arguments as `recurra.engine.llvm.emitter.Emitter`."""

    strides: Any
    scratch: Any

    def _pack(self) -> None:
        b = self.b
        for number, (group, products) in enumerate(self.sets):
            tile = self._tile(group)[1]
            gates, rows = len(products.products), products.rows
            first, last = self.share(i(self._panels(group) // tile))
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
            self.wait()

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
