"""How the script of a backward pass is written.

The products that make gradients of inputs and matrices follow the loop while what it left is still in the cache. The
gradient of a matrix is summed up over pieces in the order of memory that the matrix has.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import accumulate, combinations
from typing import NamedTuple

from recurra.engine.graphs.differentiate import WeightGradient
from recurra.engine.graphs.graph import Node
from recurra.engine.native.given import Given, Shape
from recurra.engine.native.loops import Loop
from recurra.engine.native.script import At, Matrix, Rows, Script, ScriptWriter, Strides
from recurra.engine.native.walk import Walk, choose_threads, pieces

__all__ = ["BackwardScript", "is_turned", "write_backward"]


class BackwardScript(NamedTuple):
    """A script, and what it is run with.

    Args:
        sizes: of what it writes, by name; `cleared` must be zeros before.
        arriving: numbers of the emits whose gradient it reads.
        sums: for each vector of parameters its parts, (first channel, start and stop among the sums), and whether one
            part is the whole.
    """

    script: Script
    sizes: dict[Hashable, tuple[int, ...]]
    cleared: dict[Hashable, tuple[int, ...]]
    arriving: list[int]
    sums: list[tuple[list[tuple[int, int, int]], bool]]


def write_backward(
    loop: Loop, shape: Shape, depths: dict[int, int], strides: list[Strides], needed: Given, have: tuple[bool, ...]
) -> BackwardScript:
    """Write the backward pass of a loop.

    Args:
        depths: of feeds.
        strides: of the matrices, feeds first.
        needed: whose gradient is.
        have: which leaves of the final state have a gradient.
    """
    return _Writing(loop, shape, depths, strides, needed, have).run()


def is_turned(strides: tuple[int, ...]) -> bool:
    """Does a matrix (…, rows, columns) hold its columns one after another, as what `linear` multiplies with?"""
    return strides[-2] == 1 and strides[-1] != 1


class _Writing:
    def __init__(
        self,
        loop: Loop,
        shape: Shape,
        depths: dict[int, int],
        strides: list[Strides],
        needed: Given,
        have: tuple[bool, ...],
    ) -> None:
        self.loop, self.depths, self.needed, self.have = loop, depths, needed, have
        self.steps, self.rows = shape.steps, shape.rows
        self.program, self.derivative = loop.backward(), loop.derivative
        self.script = ScriptWriter(
            loop.dtype, *choose_threads(self.program, shape.steps, shape.rows, loop.graph, depths)
        )
        self.size = self.script.size
        self.feed_strides = dict(zip(depths, strides, strict=False))
        self.strides = strides[len(depths) :]
        self.widths = [sum(piece.channels for piece in pieces) for pieces in self.derivative.graph.emits]
        self.covered = [self._covers(n) for n in range(len(loop.graph.weights))]
        # what threads read and write for gradients of matrices is theirs alone, if they share rows, until the end
        self.by_own_rows = self.script.by_rows and self.script.threads > 1
        self.packs: dict[tuple[int, int], tuple[At, int]] = {}
        self.parts: dict[Hashable, tuple[At, int]] = {}

    def run(self) -> BackwardScript:
        script, graph = self.script, self.loop.graph
        self.walk = walk = Walk(script, self.program, self.steps, self.rows, self.strides)
        for leaf, width in enumerate(graph.carries):
            walk.carry(leaf, width)
            source = script.base(("final", leaf)) if self.have[leaf] else None
            script.copy(walk.places["carry", leaf], source, self.rows, width)
        fixed = [n for n in range(len(self.widths)) if n >= len(graph.streams) or n in self.depths]
        spans = list(pieces(self.steps, self.rows, [self.widths[n] for n in fixed], script.threads, from_end=True))
        self.longest = spans[0][1] - spans[0][0]
        self.room = {n: script.reserve(self.longest * self.rows * self.widths[n]) for n in fixed}
        for n, width in enumerate(self.widths):
            walk.array("emit", n, self.room.get(n) or script.base(("whole", n)), 0 if n in fixed else width)
        sources = zip(self.derivative.sources, self.derivative.graph.streams, strict=True)
        for n, (name, array) in enumerate(sources):
            walk.array("stream", n, script.base(name), array.width if array.per_step else 0)
        self._prepare_feeds()
        for n, weight in enumerate(graph.weights):
            size = weight.blocks * weight.rows * weight.columns
            if self.by_own_rows and self.needed.weights[n] and not self.covered[n]:
                script.clear(self._target(("dweight", n), size), size)
        script.wait()
        for first, last in spans:
            self._piece(first, last)
        for leaf, width in enumerate(graph.carries):
            script.copy(script.base(("carried", leaf)), walk.carried(leaf, self.steps), self.rows, width)
        script.wait()
        script.total(script.base(("sums", 0)), walk.sums, self.program.layout.sums_size)
        for target, (place, size) in self.parts.items():
            script.total(script.base(target), place, size)
        arriving = [number for kind, number in self.derivative.sources if kind == "gradient"]
        return BackwardScript(script.finish(), *self._sizes(), arriving, self._sums())

    def _sizes(self) -> tuple[dict[Hashable, tuple[int, ...]], dict[Hashable, tuple[int, ...]]]:
        graph, depths, needed = self.loop.graph, self.depths, self.needed
        sizes: dict[Hashable, tuple[int, ...]] = {("sums", 0): (self.program.layout.sums_size,)}
        cleared: dict[Hashable, tuple[int, ...]] = {}
        for leaf, width in enumerate(graph.carries):
            sizes["carried", leaf] = (self.rows, width)
        for n, stream in enumerate(graph.streams):
            if n not in depths:
                sizes["whole", n] = (self.steps, self.rows, self.widths[n])
                continue
            if needed.streams[n]:
                sizes["input", n] = (self.steps * self.rows, depths[n])
            if needed.feeds[n]:
                sizes["dfeed", n] = _memory((depths[n], stream.width), self.feed_strides[n][:2])
        for n, (weight, strides) in enumerate(zip(graph.weights, self.strides, strict=True)):
            if needed.weights[n]:
                blocks = (weight.blocks,) if weight.blocks > 1 or strides[2] else ()
                memory = (*blocks, *_memory((weight.rows, weight.columns), strides[:2]))
                (sizes if self.covered[n] else cleared)["dweight", n] = memory
        return sizes, cleared

    def _sums(self) -> list[tuple[list[tuple[int, int, int]], bool]]:
        """Find for each vector of parameters its gradient among the sums."""
        layout, results = self.program.layout, []
        starts = list(accumulate((blocks * padded for blocks, padded, _ in layout.sums), initial=0))
        for number, width in enumerate(self.loop.graph.vectors):
            parts: list[tuple[int, int, int]] = []
            found = zip(self.derivative.vectors, starts, layout.sums, strict=False)
            for (vector, column), start, (blocks, padded, size) in found:
                for block in range(blocks if vector == number else 0):
                    part = (column + block * size, start + block * padded, start + block * padded + size)
                    if parts and _follows(parts[-1], part):
                        part = (*parts.pop()[:2], part[2])
                    parts.append(part)
            is_one = len(parts) == 1 and parts[0][0] == 0 and parts[0][2] - parts[0][1] == width
            results.append((parts, is_one))
        return results

    def _covers(self, weight: int) -> bool:
        """Is every number of a matrix's gradient written by one product, and by no other?"""
        areas = []
        for found in self.derivative.weights:
            if found.weight == weight:
                for row, count in zip(found.rows, self._depths_of(found), strict=True):
                    areas.append((row, row + count, found.column, found.column + found.columns))
        whole = self.loop.graph.weights[weight]
        apart = all(a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2] for a, b in combinations(areas, 2))
        return apart and sum((b - a) * (d - c) for a, b, c, d in areas) == whole.rows * whole.columns

    def _depths_of(self, found: WeightGradient) -> list[int]:
        """Rows of a matrix that each input of a product meets."""
        return [node.channels // self.loop.graph.weights[found.weight].blocks for node in found.inputs]

    def _prepare_feeds(self) -> None:
        """Pack the matrices that make gradients of inputs, and those that make streams which are read again."""
        self.again: dict[int, tuple[At, At]] = {}
        self.turned: dict[int, At] = {}
        for n, depth in self.depths.items():
            row, column, _ = self.feed_strides[n]
            matrix, width = Matrix(self.script.base(("feed", n)), row, column), self.loop.graph.streams[n].width
            if self.needed.streams[n]:
                self.turned[n] = self.script.pack(matrix.transposed, width, depth)
            if ("stream", n) in self.derivative.sources:
                goal = self.script.reserve(self.longest * self.rows * width)
                self.again[n] = (self.script.pack(matrix, depth, width), goal)
                self.walk.array("stream", self.derivative.sources.index(("stream", n)), goal, 0)

    def _piece(self, first: int, last: int) -> None:
        """Run some steps, and multiply what they leave."""
        script, count, depths = self.script, (last - first) * self.rows, self.depths
        script.pause()
        inputs = {n: Matrix(self._row("stream", n, first, depth), depth, 1) for n, depth in depths.items()}
        for n, (packed, goal) in self.again.items():
            width = self.loop.graph.streams[n].width
            stream, sizes = Matrix(goal, width, 1), (count, depths[n], width)
            script.multiply(inputs[n], packed, stream, sizes, steps=last - first)
        self.walk.run(first, last)
        for n, packed in self.turned.items():
            width = self.loop.graph.streams[n].width
            dx = Matrix(self._row("input", n, first, depths[n]), depths[n], 1)
            sizes = (count, width, depths[n])
            script.multiply(Matrix(self.room[n], width, 1), packed, dx, sizes, steps=last - first)
        products = [self._feed_product(n, inputs[n], last == self.steps) for n in depths if self.needed.feeds[n]]
        for found in self.derivative.weights:
            if self.needed.weights[found.weight]:
                products += self._weight_products(found, first, last == self.steps)
        self._multiply(products, first, last)

    def _multiply(self, products: list[_Product], first: int, last: int) -> None:
        """Sum up products over the rows of a piece: gradients of matrices."""
        script, count = self.script, (last - first) * self.rows
        done: dict[tuple[Matrix, int], tuple[At, int]] = {}
        if not self.by_own_rows:
            script.wait()  # what follows reads rows of other threads
        for product in products:
            key = (product.right, product.columns)
            if key not in done:
                done[key] = packed, step = self._room_to_pack(len(done), product.columns)
                rows = Rows(last - first, step) if self.by_own_rows else None
                script.pack(product.right, count, product.columns, packed, rows=rows)
        if not self.by_own_rows:
            script.wait()
        for product in products:
            packed, step = done[product.right, product.columns]
            rows = Rows(last - first, step, product.size) if self.by_own_rows else None
            sizes = (product.rows, count, product.columns)
            script.multiply(product.left, packed, product.goal, sizes, adds=product.adds, rows=rows)
        if not self.by_own_rows:
            script.wait()  # the next piece writes where this one has read

    def _room_to_pack(self, number: int, columns: int) -> tuple[At, int]:
        """Return a place for a packed matrix of a piece, the same in every piece, and the numbers of each thread's."""
        threads = self.script.threads if self.by_own_rows else 1
        if (number, columns) not in self.packs:
            size = self.script.packed_size(self.longest * -(-self.rows // threads), columns)
            self.packs[number, columns] = (self.script.reserve(threads * size), size)
        return self.packs[number, columns]

    def _target(self, name: Hashable, size: int) -> At:
        """Return where the gradient of a matrix is summed up: for threads of own rows, a part of it for each."""
        if not self.by_own_rows:
            return self.script.base(name)
        if name not in self.parts:
            self.parts[name] = (self.script.reserve(self.script.threads * size), size)
        return self.parts[name][0]

    def _row(self, name: str, number: int, step: int, width: int) -> At:
        return self.script.base((name, number)).plus(step * self.rows * width * self.size)

    def _feed_product(self, n: int, x: Matrix, is_first: bool) -> _Product:
        width, (row, column, _) = self.loop.graph.streams[n].width, self.feed_strides[n]
        sizes = (self.depths[n], width)
        size = sizes[0] * sizes[1]
        goal = self._goal(self._target(("dfeed", n), size), sizes, (row, column))
        return _outer(x, Matrix(self.room[n], width, 1), goal, sizes, adds=not is_first, size=size)

    def _goal(self, at: At, sizes: tuple[int, int], strides: tuple[int, ...]) -> Matrix:
        """Return the gradient of a matrix (rows, columns), as `_like` lays it out."""
        rows, columns = sizes
        return Matrix(at, 1, rows) if is_turned(strides) else Matrix(at, columns, 1)

    def _weight_products(self, found: WeightGradient, first: int, is_first: bool) -> list[_Product]:
        number, size = found.weight, self.size
        weight, strides = self.loop.graph.weights[number], self.strides[number][:2]
        is_fresh = is_first and self.covered[number]
        width, products = self.widths[found.emit], []
        start = self.room.get(found.emit) or self._row("whole", found.emit, first, width)
        whole_size = weight.blocks * weight.rows * weight.columns
        for block in range(weight.blocks):
            gradient = Matrix(start.plus((found.start + block * found.columns) * size), width, 1)
            base = self._target(("dweight", number), whole_size).plus(block * weight.rows * weight.columns * size)
            whole = self._goal(base, (weight.rows, weight.columns), strides)
            for node, row, depth in zip(found.inputs, found.rows, self._depths_of(found), strict=True):
                x = self._values(node, first)
                x = x._replace(at=x.at.plus(block * depth * size))
                goal = whole._replace(at=base.plus((row * whole.row + found.column * whole.column) * size))
                products.append(_outer(x, gradient, goal, (depth, found.columns), not is_fresh, whole_size))
        return products

    def _values(self, node: Node, first: int) -> Matrix:
        """Return the values of a forward node from step `first` on, a row for each row of each step."""
        graph, shift = self.loop.graph, 0
        if node.op == "stream":
            (number, column), kind = node.attributes, "stream"
            width = graph.streams[number].width
        elif node.op == "carry":
            (number, column), kind = node.attributes, "history"
            width = graph.carries[number]
        else:
            kind, number, column = self.derivative.places[node]
            if kind == "next":
                kind, shift, width = "history", 1, graph.carries[number]
            elif kind == "kept":
                width = sum(kept.channels for kept in self.derivative.kept)
            else:
                width = sum(piece.channels for piece in graph.emits[number])
        return Matrix(self._row(kind, number, first + shift, width).plus(column * self.size), width, 1)


class _Product(NamedTuple):
    """goal (rows, columns) = left (rows, of the piece) @ right (of the piece, columns), or adds it.

    Args:
        size: numbers of the whole matrix of which the goal is a part.
    """

    left: Matrix
    right: Matrix
    goal: Matrix
    rows: int
    columns: int
    adds: bool
    size: int


def _outer(x: Matrix, gradient: Matrix, goal: Matrix, sizes: tuple[int, int], adds: bool, size: int) -> _Product:
    """Return the product xᵀ @ gradient as one whose result has its columns side by side."""
    rows, columns = sizes
    if goal.column == 1:
        return _Product(x.transposed, gradient, goal, rows, columns, adds, size)
    return _Product(gradient.transposed, x, goal.transposed, columns, rows, adds, size)


def _memory(sizes: tuple[int, int], strides: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape in memory of the gradient of a matrix (rows, columns): columns or rows side by side."""
    rows, columns = sizes
    return (columns, rows) if is_turned(strides) else (rows, columns)


def _follows(before: tuple[int, int, int], part: tuple[int, int, int]) -> bool:
    """Does a part (first channel, start, stop) continue another, in both places?"""
    column, start, stop = before
    return part[:2] == (column + stop - start, stop)
