"""The backward pass of a compiled loop as a script: the loop from the end, and after each piece of time its products.

The products that make gradients of inputs and matrices follow the loop while what it left is still in the cache. The
gradient of a matrix is summed up over pieces in the order of memory that the matrix has.
"""

from __future__ import annotations

from itertools import accumulate, combinations, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.engine.differentiate import WeightGradient
from recurra.engine.given import Given, Left, Shape
from recurra.engine.graph import Node
from recurra.engine.loops import Loop
from recurra.engine.script import At, Matrix, Script, Strides
from recurra.engine.walk import Walk, choose_threads, pieces

__all__ = ["backward"]


def backward(
    loop: Loop,
    shape: Shape,
    tensors: tuple[Any, ...],
    left: Left,
    gradients: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
) -> list[Tensor | None]:
    """Run the loop backward: gradients of what it was given, in the order of `Given.flatten`.

    Args:
        tensors: what was given, flat.
        gradients: of the emits, then of the final state; None for zeros.
        wanted: for each tensor, whether its gradient is.
    """
    steps, rows, given, dtype = shape.steps, shape.rows, shape.sort(tensors), loop.dtype
    graph, count = loop.graph, len(loop.graph.emits)
    arriving, finals = gradients[:count], gradients[count:]
    strides, depths = given.strides(), given.depths()
    have = tuple(gradient is not None for gradient in finals)
    key = ("backward", steps, rows, torch.get_num_threads(), *depths.items(), *strides, wanted, have)
    task = _Task(loop, steps, rows, depths, strides, shape.sort(wanted), have)
    script = loop.scripts.find(key, lambda: _Writing(task).run())
    arrays = given.named()
    for kind, number in loop.derivative.sources:
        if kind == "gradient":
            gradient = arriving[number]
            if gradient is None:
                width = sum(piece.channels for piece in graph.emits[number])
                gradient = torch.zeros(steps, rows, width, dtype=dtype)
            arrays["gradient", number] = gradient.contiguous()
    arrays.update((("history", n), array) for n, array in left.histories.items())
    arrays.update((("emit", n), array) for n, array in left.emits.items())
    if left.kept is not None:
        arrays["kept", 0] = left.kept.tensor
    arrays.update((("final", n), gradient.contiguous()) for n, gradient in enumerate(finals) if gradient is not None)
    states = [torch.empty(rows, width, dtype=dtype) for width in graph.carries]
    arrays.update((("carried", n), state) for n, state in enumerate(states))
    inputs, streams = task.inputs(given), task.streams()
    feeds, weights = task.feeds(given), task.weights(given)
    for name, found in (("input", inputs), ("whole", streams), ("dfeed", feeds), ("dweight", weights)):
        arrays.update(((name, n), array) for n, array in found.items())
    arrays["sums", 0] = sums = torch.empty(loop.backward().layout.sums_size, dtype=dtype)
    script.run(arrays)
    results: list[Tensor | None] = []
    for number, stream in enumerate(graph.streams):
        if number in depths or number in loop.constant:
            results.append(inputs.get(number))
        else:
            results.append(streams[number].flatten(0, 1) if stream.per_step else streams[number].sum(0))
    results += [feeds.get(number) for number in given.feeds]
    results += _vector_gradients(loop, given, _without_padding(loop, sums))
    results += [weights.get(number) for number in range(len(given.weights))]
    return [*results, *states]


class _Task(NamedTuple):
    """What a backward pass is to do.

    Args:
        strides: of the matrices, feeds first.
        needed: whose gradient is.
        have: which leaves of the final state have a gradient.
    """

    loop: Loop
    steps: int
    rows: int
    depths: dict[int, int]
    strides: list[Strides]
    needed: Given
    have: tuple[bool, ...]

    def inputs(self, given: Given) -> dict[int, Tensor]:
        """Make room for the gradients of what fed streams are made of."""
        found = (n for n in self.depths if self.needed.streams[n])
        return {n: torch.empty_like(given.streams[n], memory_format=torch.contiguous_format) for n in found}

    def streams(self) -> dict[int, Tensor]:
        """Make room for the gradients of the other streams, of every step."""
        found = {n: self.width(n) for n in range(len(self.loop.graph.streams)) if n not in self.depths}
        return {n: torch.empty(self.steps, self.rows, width, dtype=self.loop.dtype) for n, width in found.items()}

    def width(self, emit: int) -> int:
        """Numbers per row of what the backward loop emits."""
        return sum(piece.channels for piece in self.loop.derivative.graph.emits[emit])

    def feeds(self, given: Given) -> dict[int, Tensor]:
        """Make room for the gradients of feeds."""
        return {n: _like(feed, covered=True) for n, feed in given.feeds.items() if self.needed.feeds[n]}

    def weights(self, given: Given) -> dict[int, Tensor]:
        """Make room for the gradients of the loop's matrices; zeros where not every number is written."""
        needed = (n for n in range(len(given.weights)) if self.needed.weights[n])
        return {n: _like(given.weights[n], covered=self.covers(n)) for n in needed}

    def covers(self, weight: int) -> bool:
        """Is every number of a matrix's gradient written by one product, and by no other?"""
        areas = []
        for found in self.loop.derivative.weights:
            if found.weight == weight:
                for row, count in zip(found.rows, self.depths_of(found), strict=True):
                    areas.append((row, row + count, found.column, found.column + found.columns))
        whole = self.loop.graph.weights[weight]
        apart = all(a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2] for a, b in combinations(areas, 2))
        return apart and sum((b - a) * (d - c) for a, b, c, d in areas) == whole.rows * whole.columns

    def depths_of(self, found: WeightGradient) -> list[int]:
        """Rows of a matrix that each input of a product meets."""
        return [node.channels // self.loop.graph.weights[found.weight].blocks for node in found.inputs]


def _like(matrix: Tensor, *, covered: bool) -> Tensor:
    """Return memory for a gradient (..., rows, columns) with its columns or its rows side by side, as the matrix."""
    make = torch.empty if covered else torch.zeros
    if _is_turned(matrix.stride()):
        return make(matrix.transpose(-1, -2).shape, dtype=matrix.dtype).transpose(-1, -2)
    return make(matrix.shape, dtype=matrix.dtype)


def _is_turned(strides: tuple[int, ...]) -> bool:
    """Does a matrix (…, rows, columns) hold its columns one after another, as what `linear` multiplies with?"""
    return strides[-2] == 1 and strides[-1] != 1


class _Writing:
    def __init__(self, task: _Task) -> None:
        self.task, self.loop = task, task.loop
        self.steps, self.rows = task.steps, task.rows
        self.program, self.derivative = task.loop.backward(), task.loop.derivative
        threads = choose_threads(self.program, task.steps, task.rows, task.loop.graph, task.depths)
        self.script = Script(task.loop.dtype, *threads)
        self.size = self.script.size
        self.feed_strides = dict(zip(task.depths, task.strides, strict=False))
        self.packs: dict[Any, At] = {}

    def run(self) -> Script:
        script, loop, task = self.script, self.loop, self.task
        self.walk = walk = Walk(script, self.program, self.steps, self.rows, task.strides[len(task.depths) :])
        for leaf, width in enumerate(loop.graph.carries):
            walk.carry(leaf, width)
            source = script.base(("final", leaf)) if task.have[leaf] else None
            script.copy(walk.places["carry", leaf], source, self.rows, width)
        emits = {n: task.width(n) for n in range(len(self.derivative.graph.emits))}
        fixed = [n for n in emits if n >= len(loop.graph.streams) or n in task.depths]
        spans = list(pieces(self.steps, self.rows, [emits[n] for n in fixed], from_end=True))
        self.longest = (spans[0][1] - spans[0][0]) * self.rows
        self.room = {n: script.reserve(self.longest * emits[n]) for n in fixed}
        for n, width in emits.items():
            walk.array("emit", n, self.room.get(n) or script.base(("whole", n)), 0 if n in fixed else width)
        for n, ((kind, number), array) in enumerate(
            zip(self.derivative.sources, self.derivative.graph.streams, strict=True)
        ):
            walk.array("stream", n, script.base((kind, number)), array.width if array.per_step else 0)
        self._prepare_feeds()
        script.wait()
        for first, last in spans:
            self._piece(first, last)
        for leaf, width in enumerate(loop.graph.carries):
            script.copy(script.base(("carried", leaf)), walk.carried(leaf, self.steps), self.rows, width)
        script.wait()
        script.total(script.base(("sums", 0)), walk.sums, self.program.layout.sums_size)
        return script.finish()

    def _prepare_feeds(self) -> None:
        """Pack the matrices that make gradients of inputs, and those that make streams which are read again."""
        self.again: dict[int, tuple[At, At]] = {}
        self.turned: dict[int, At] = {}
        for n, depth in self.task.depths.items():
            row, column, _ = self.feed_strides[n]
            matrix, width = Matrix(self.script.base(("feed", n)), row, column), self.loop.graph.streams[n].width
            if self.task.needed.streams[n]:
                self.turned[n] = self.script.pack(matrix.transposed, width, depth)
            if ("stream", n) in self.derivative.sources:
                goal = self.script.reserve(self.longest * width)
                self.again[n] = (self.script.pack(matrix, depth, width), goal)
                self.walk.array("stream", self.derivative.sources.index(("stream", n)), goal, 0)

    def _piece(self, first: int, last: int) -> None:
        """Run some steps, and multiply what they leave."""
        script, task, count, depths = self.script, self.task, (last - first) * self.rows, self.task.depths
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
        products = [self._feed_product(n, inputs[n], last == self.steps) for n in depths if task.needed.feeds[n]]
        for found in self.derivative.weights:
            if task.needed.weights[found.weight]:
                products += self._weight_products(found, first, last == self.steps)
        self._multiply(products, count)

    def _multiply(self, products: list[_Product], count: int) -> None:
        """Sum up products over the rows of a piece: gradients of matrices."""
        script = self.script
        done: dict[tuple[Matrix, int], At] = {}
        script.wait()  # what follows reads rows of other threads
        for product in products:
            key = (product.right, product.columns)
            if key not in done:
                place = (len(done), product.columns)  # the same in every piece
                if place not in self.packs:
                    self.packs[place] = script.reserve_packed(self.longest, product.columns)
                done[key] = self.packs[place]
                script.pack(product.right, count, product.columns, done[key])
        script.wait()
        for product in products:
            packed, sizes = done[product.right, product.columns], (product.rows, count, product.columns)
            script.multiply(product.left, packed, product.goal, sizes, adds=product.adds)
        script.wait()  # the next piece writes where this one has read

    def _row(self, name: str, number: int, step: int, width: int) -> At:
        return self.script.base((name, number)).plus(step * self.rows * width * self.size)

    def _feed_product(self, n: int, x: Matrix, is_first: bool) -> _Product:
        width, (row, column, _) = self.loop.graph.streams[n].width, self.feed_strides[n]
        sizes = (self.task.depths[n], width)
        goal = self._goal(self.script.base(("dfeed", n)), sizes, (row, column))
        return _outer(x, Matrix(self.room[n], width, 1), goal, sizes, adds=not is_first)

    def _goal(self, at: At, sizes: tuple[int, int], strides: tuple[int, ...]) -> Matrix:
        """Return the gradient of a matrix (rows, columns), as `_like` lays it out."""
        rows, columns = sizes
        return Matrix(at, 1, rows) if _is_turned(strides) else Matrix(at, columns, 1)

    def _weight_products(self, found: WeightGradient, first: int, is_first: bool) -> list[_Product]:
        number, size = found.weight, self.size
        weight, strides = self.loop.graph.weights[number], self.task.strides[len(self.task.depths) + number][:2]
        is_fresh = is_first and self.task.covers(number)
        width, products = self.task.width(found.emit), []
        start = self.room.get(found.emit) or self._row("whole", found.emit, first, width)
        for block in range(weight.blocks):
            gradient = Matrix(start.plus((found.start + block * found.columns) * size), width, 1)
            base = self.script.base(("dweight", number)).plus(block * weight.rows * weight.columns * size)
            whole = self._goal(base, (weight.rows, weight.columns), strides)
            for node, row, depth in zip(found.inputs, found.rows, self.task.depths_of(found), strict=True):
                x = self._values(node, first)
                x = x._replace(at=x.at.plus(block * depth * size))
                goal = whole._replace(at=base.plus((row * whole.row + found.column * whole.column) * size))
                products.append(_outer(x, gradient, goal, (depth, found.columns), adds=not is_fresh))
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
    """goal (rows, columns) = left (rows, of the piece) @ right (of the piece, columns), or adds it."""

    left: Matrix
    right: Matrix
    goal: Matrix
    rows: int
    columns: int
    adds: bool


def _outer(x: Matrix, gradient: Matrix, goal: Matrix, sizes: tuple[int, int], adds: bool) -> _Product:
    """Return the product xᵀ @ gradient as one whose result has its columns side by side."""
    rows, columns = sizes
    if goal.column == 1:
        return _Product(x.transposed, gradient, goal, rows, columns, adds)
    return _Product(gradient.transposed, x, goal.transposed, columns, rows, adds)


def _without_padding(loop: Loop, sums: Tensor) -> Tensor:
    """Return the sums of the backward loop side by side, without what fills up their last vectors."""
    shapes = loop.backward().layout.sums
    if all(padded == size for _, padded, size in shapes):
        return sums
    parts = sums.split([blocks * padded for blocks, padded, _ in shapes])
    return torch.cat([p.view(b, n)[:, :size].flatten() for p, (b, n, size) in zip(parts, shapes, strict=True)])


def _pick(sums: Tensor, places: list[tuple[int, int]]) -> Tensor:
    """Return the sums at places (start, stop): without a copy if they lie side by side."""
    if all(before[1] == after[0] for before, after in pairwise(places)):
        return sums[places[0][0] : places[-1][1]]
    return torch.cat([sums[start:stop] for start, stop in places])


def _vector_gradients(loop: Loop, given: Given, sums: Tensor) -> list[Tensor]:
    """Return the gradient of each vector of parameters, from the sums of the backward loop."""
    results = []
    for number, vector in enumerate(given.vectors):
        parts = [
            (column, *place)
            for (n, column), place in zip(loop.derivative.vectors, loop.sum_places, strict=False)
            if n == number
        ]
        columns = list(accumulate((stop - start for _, start, stop in parts), initial=0))
        if parts and columns[-1] == len(vector) and columns[:-1] == [column for column, *_ in parts]:
            results.append(_pick(sums, [(start, stop) for _, start, stop in parts]))
            continue
        total = torch.zeros_like(vector)
        for column, start, stop in parts:
            if len(vector) == 1:
                total += sums[start:stop].sum()
            else:
                total[column : column + stop - start] += sums[start:stop]
        results.append(total)
    return results
