"""Compiled loops on tensors: forward, backward, and the products around them, piece by piece of time.

The product that makes a stream from the input (`Feed`) is done for some steps at a time, right before the loop reads
it; the products that make gradients follow the backward loop in the same way. What passes between them stays in the
cache of the processor, and no tensor of all steps is made for it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.engine.differentiate import WeightGradient
from recurra.engine.graph import Node
from recurra.engine.interpreter import interpret
from recurra.engine.llvm.compiler import Program
from recurra.engine.loops import Loop
from recurra.engine.products import accumulate as add_product
from recurra.engine.products import multiply
from recurra.engine.workspace import Loan

__all__ = ["Feed", "Given", "Left", "Shape", "backward", "forward", "run_loop_natively"]

PIECE_BYTES = 3 << 19  # of streams and gradients at a time: what a core's second cache holds beside the weights
SMALL = 500_000  # multiply-adds of all rows and steps for which waking a second thread does not pay
LEAST_ROWS = 256  # of a product, for it to be as fast as a large one


class Feed(NamedTuple):
    """A stream that is a product: ``x weight + bias`` for x (T·B, I) and weight (I, N)."""

    weight: Tensor
    bias: Tensor | None


class Given(NamedTuple):
    """What a loop reads.

    Args:
        streams: (T·B, width) each, or (B, width) where all steps share it; of a fed one, the x of its `Feed`.
        feeds: by number of the stream.
        states: (B, width) of each leaf.
    """

    streams: list[Tensor]
    feeds: dict[int, Feed]
    vectors: list[Tensor]
    weights: list[Tensor]
    states: list[Tensor]

    def flatten(self) -> list[Tensor | None]:
        """Return all tensors in one list."""
        feeds = [tensor for feed in self.feeds.values() for tensor in feed]
        return [*self.streams, *feeds, *self.vectors, *self.weights, *self.states]


class Shape(NamedTuple):
    steps: int
    rows: int
    streams: int
    fed: tuple[int, ...]
    vectors: int
    weights: int

    def sort(self, tensors: Sequence[Any]) -> Given:
        """Undo `Given.flatten`."""
        rest = iter(tensors)
        streams = [next(rest) for _ in range(self.streams)]
        feeds = {number: Feed(next(rest), next(rest)) for number in self.fed}
        vectors = [next(rest) for _ in range(self.vectors)]
        weights = [next(rest) for _ in range(self.weights)]
        return Given(streams, feeds, vectors, weights, list(rest))


def run_loop_natively(loop: Loop, steps: int, rows: int, given: Given) -> tuple[list[Tensor], list[Tensor]]:
    """Run a compiled loop.

    Returns: (emits (T, B, width), final state (B, width) of each leaf).
    Gradient: into all that is given.
    """
    tensors = given.flatten()
    count = len(loop.graph.emits)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        shape = Shape(steps, rows, len(given.streams), tuple(given.feeds), len(given.vectors), len(given.weights))
        results = _Scan.apply(loop, shape, *tensors)  # type: ignore[no-untyped-call]
        return list(results[:count]), list(results[count:])
    emits, finals, _ = forward(loop, steps, rows, given, trains=False)
    return emits, finals


class Left(NamedTuple):
    """What a forward pass leaves for the backward pass: histories (T+1, B, width) by leaf, emits by number, kept values."""

    histories: dict[int, Tensor]
    emits: dict[int, Tensor]
    kept: Loan | None

    def versions(self) -> list[int]:
        return [tensor._version for tensor in (*self.histories.values(), *self.emits.values())]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loop: Loop, shape: Shape, *tensors: Any) -> tuple[Tensor, ...]:
        emits, finals, left = forward(loop, shape.steps, shape.rows, shape.sort(tensors), trains=True)
        ctx.save_for_backward(*tensors)
        ctx.loop, ctx.shape, ctx.left, ctx.versions = loop, shape, left, left.versions()
        ctx.set_materialize_grads(False)
        # aliases: a tensor that knows this function must not be kept by it, nor be a view that torch forbids to modify
        return tuple(result.detach() for result in (*emits, *finals))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        wanted = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():  # the gradient is to be differentiated in turn
            return (None, None, *_differentiable(ctx.loop, ctx.shape, ctx.saved_tensors, gradients, wanted))
        if ctx.versions != ctx.left.versions():
            raise RuntimeError(
                "the outputs of a scan were modified in place, and its backward pass reads them; modify a clone"
            )
        return (None, None, *backward(ctx.loop, ctx.shape, ctx.saved_tensors, ctx.left, gradients, wanted))


def forward(loop: Loop, steps: int, rows: int, given: Given, trains: bool) -> tuple[list[Tensor], list[Tensor], Left]:
    program, histories = loop.forward(trains), loop.histories(trains)
    carries = []
    for leaf, width in enumerate(loop.graph.carries):
        array = torch.empty(steps + 1 if leaf in histories else 2, rows, width, dtype=loop.dtype)
        array[0] = given.states[leaf]
        carries.append(array)
    written = {
        number: torch.empty(steps, rows, sum(piece.channels for piece in pieces), dtype=loop.dtype)
        for number, pieces in enumerate(loop.graph.emits)
        if loop.aliases[number] is None
    }
    emits = list(written.values())
    kept = None
    if trains and loop.derivative.kept:
        kept = Loan(steps, rows, sum(node.channels for node in loop.derivative.kept), dtype=loop.dtype)
        emits.append(kept.tensor)
    call = _Call(program, loop.dtype, steps, rows, carries, histories, given)
    streams = [stream.contiguous() for stream in given.streams]
    room: dict[int, Loan] = {}
    for first, last in _pieces(steps, rows, [loop.graph.streams[n].width for n in given.feeds]):
        part, length = slice(first * rows, last * rows), (last - first) * rows  # the first piece is the longest
        room = room or {n: Loan(length, loop.graph.streams[n].width, dtype=loop.dtype) for n in given.feeds}
        fed = {n: room[n].tensor[:length] for n in given.feeds}
        for n, (weight, bias) in given.feeds.items():
            multiply(streams[n][part], weight.t(), bias, out=fed[n])
        call.run(first, last, [fed.get(n, stream) for n, stream in enumerate(streams)], emits, fixed_streams=set(fed))
    results = [written[n] if leaf is None else carries[leaf][1:] for n, leaf in enumerate(loop.aliases)]
    # copies: a final state that is part of the outputs would keep all of them in memory
    finals = [array[steps if leaf in histories else steps % 2].clone() for leaf, array in enumerate(carries)]
    return results, finals, Left({leaf: carries[leaf] for leaf in histories}, written, kept)


def _pieces(steps: int, rows: int, widths: list[int], from_end: bool = False) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of pieces of time; all but one are of an even number of steps."""
    if not widths:
        yield 0, steps
        return
    at_once = max(LEAST_ROWS, PIECE_BYTES // (4 * sum(widths)))
    size = max(2, 2 * -(-at_once // (2 * rows)))
    size = max(2, 2 * -(-steps // (2 * max(1, round(steps / size)))))  # pieces as equal as can be
    if from_end:
        yield from ((max(0, last - size), last) for last in range(steps, 0, -size))
    else:
        yield from ((first, min(steps, first + size)) for first in range(0, steps, size))


class _Call:
    """Calls of one native function on pieces of the same arrays."""

    def __init__(
        self,
        program: Program,
        dtype: torch.dtype,
        steps: int,
        rows: int,
        carries: list[Tensor],
        histories: frozenset[int],
        given: Given,
    ) -> None:
        layout, threads = program.layout, torch.get_num_threads()
        self.program, self.rows = program, rows
        if steps * rows * program.work < SMALL:
            threads = 1
        self.by_rows = program.by_rows_only or rows >= 8 * threads
        self.threads = min(threads, rows) if self.by_rows else threads
        lanes = (program.lanes, 1)
        self.arrays: dict[str, list[Tensor]] = {
            "packed": [torch.empty(size, dtype=dtype) for size in layout.packed],
            "scratch": [torch.empty(rows * width, dtype=dtype) for width in program.scratch],
            "row": [torch.empty(rows * width, dtype=dtype) for _ in range(program.reductions) for width in lanes],
            "sum": self._sums(dtype),
            "vector": [vector.contiguous() for vector in given.vectors],
            "weight": given.weights,
            "carry": carries,
        }
        self.histories = histories
        strides = [stride for weight in given.weights for stride in _strides(weight)]
        self.strides = (ctypes.c_int64 * max(1, len(strides)))(*strides)
        self.is_packed = False

    def run(
        self,
        first: int,
        last: int,
        streams: list[Tensor],
        emits: list[Tensor],
        fixed_streams: set[int] | frozenset[int] = frozenset(),
        fixed_emits: set[int] | frozenset[int] = frozenset(),
    ) -> None:
        """Run steps first..last. Fixed arrays hold these steps alone, the others all steps."""
        program, arrays = self.program, {**self.arrays, "stream": streams, "emit": emits}
        moving = {("carry", leaf) for leaf in self.histories} | {("emit", n) for n in range(len(emits))}
        moving |= {("stream", n) for n in range(len(streams))}
        moving -= {("stream", n) for n in fixed_streams} | {("emit", n) for n in fixed_emits}
        pointers = []
        for name in program.layout.names:
            array = arrays[name[0]][name[1]]
            place = array.data_ptr()
            # what all steps share, a fresh state, does not move
            if first and name in moving and array.numel() > self.rows * array.shape[-1]:
                place += first * self.rows * array.shape[-1] * array.element_size()
            pointers.append(place)
        table = (ctypes.c_void_p * len(pointers))(*pointers)
        flags = int(self.by_rows) | 2 * self.is_packed
        program.team.run(program.address, table, self.strides, last - first, self.rows, flags, self.threads)
        self.is_packed = True

    def _sums(self, dtype: torch.dtype) -> list[Tensor]:
        """Make room for the sums of every thread, side by side; return where each begins."""
        self.room = torch.zeros(self.threads, self.program.layout.sums_size, dtype=dtype)
        sizes = [blocks * padded for blocks, padded, _ in self.program.layout.sums]
        return list(self.room[0].split(sizes)) if sizes else []

    def sums(self) -> Tensor:
        """Return the sums over rows and steps, side by side."""
        total = self.room.sum(0) if self.threads > 1 else self.room[0]
        shapes = self.program.layout.sums
        if all(padded == size for _, padded, size in shapes):
            return total
        parts = total.split([blocks * padded for blocks, padded, _ in shapes])
        return torch.cat([p.view(b, n)[:, :size].flatten() for p, (b, n, size) in zip(parts, shapes, strict=True)])


def _strides(weight: Tensor) -> tuple[int, int, int]:
    *block, row, column = weight.stride()
    return row, column, block[0] if block else 0


def backward(
    loop: Loop,
    shape: Shape,
    tensors: tuple[Any, ...],
    left: Left,
    gradients: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
) -> list[Tensor | None]:
    steps, rows, given, derivative = shape.steps, shape.rows, shape.sort(tensors), loop.derivative
    needed = shape.sort(wanted)
    count = len(loop.graph.emits)
    carries = []
    for leaf, width in enumerate(loop.graph.carries):
        array = torch.empty(2, rows, width, dtype=loop.dtype)
        gradient = gradients[count + leaf]
        array[0] = 0.0 if gradient is None else gradient
        carries.append(array)

    def source(kind: str, number: int) -> Tensor:
        if kind == "stream":
            return given.streams[number]
        if kind == "gradient":
            gradient = gradients[number]
            width = sum(piece.channels for piece in loop.graph.emits[number])
            return torch.zeros(steps, rows, width, dtype=loop.dtype) if gradient is None else gradient
        if kind == "kept":
            assert left.kept is not None
            return left.kept.tensor
        return left.histories[number] if kind == "history" else left.emits[number]

    streams = [source(*place).contiguous() for place in derivative.sources]
    fixed = {n for n in range(len(derivative.graph.emits)) if n >= len(loop.graph.streams) or n in given.feeds}
    widths = [sum(piece.channels for piece in pieces) for pieces in derivative.graph.emits]
    whole = {n: torch.empty(steps, rows, width, dtype=loop.dtype) for n, width in enumerate(widths) if n not in fixed}
    call = _Call(loop.backward(), loop.dtype, steps, rows, carries, frozenset(), given)
    products = _Products(loop, given, needed, left, rows)
    room: dict[int, Loan] = {}
    for first, last in _pieces(steps, rows, [widths[n] for n in fixed], from_end=True):
        length = (last - first) * rows  # the first piece is the longest
        room = room or {n: Loan(length, widths[n], dtype=loop.dtype) for n in fixed}
        piece = {n: loan.tensor[:length] for n, loan in room.items()}
        fed = products.again(first, last, derivative.sources)
        call.run(
            first,
            last,
            [fed.get(n, stream) for n, stream in enumerate(streams)],
            [piece[n] if n in fixed else whole[n] for n in range(len(widths))],
            fixed_streams=set(fed),
            fixed_emits=fixed,
        )
        part = slice(first * rows, last * rows)
        products.add(first, last, {**piece, **{n: array.flatten(0, 1)[part] for n, array in whole.items()}})
    sums = call.sums()
    results: list[Tensor | None] = []
    for number, array in enumerate(loop.graph.streams):
        if number in given.feeds:
            results.append(products.inputs.get(number))
        elif number in loop.constant:
            results.append(None)
        else:
            results.append(whole[number].flatten(0, 1) if array.per_step else whole[number].sum(0))
    for number, feed in given.feeds.items():
        total = products.feeds.get(number)
        results.append(None if total is None else _like(total, feed.weight))
        places = loop.bias_sums.get(number)
        results.append(None if feed.bias is None or places is None else _pick(sums, [loop.sum_places[n] for n in places]))
    results += _vector_gradients(loop, given, sums)
    results += [products.weight(n) if needed.weights[n] else None for n in range(len(given.weights))]
    return [*results, *(array[steps % 2] for array in carries)]


class _Products:
    """The products that make gradients of matrices and of inputs, summed up piece by piece of time."""

    def __init__(self, loop: Loop, given: Given, needed: Given, left: Left, rows: int) -> None:
        self.loop, self.given, self.needed, self.left, self.rows = loop, given, needed, left, rows
        self.feeds: dict[int, Tensor | None] = {}
        self.parts: dict[tuple[WeightGradient, int], Tensor] = {}
        self.inputs: dict[int, Tensor] = {
            n: torch.empty_like(given.streams[n], memory_format=torch.contiguous_format)
            for n in given.feeds
            if needed.streams[n]
        }

    def again(self, first: int, last: int, sources: list[tuple[str, int]]) -> dict[int, Tensor]:
        """Make the streams that the backward loop reads again, where they are products."""
        part = slice(first * self.rows, last * self.rows)
        found = {}
        for place, (kind, number) in enumerate(sources):
            if kind == "stream" and number in self.given.feeds:
                weight, bias = self.given.feeds[number]
                found[place] = multiply(self.given.streams[number][part], weight.t(), bias).contiguous()
        return found

    def add(self, first: int, last: int, emits: dict[int, Tensor]) -> None:
        """Add what a piece of the backward loop gives; emits are (rows of the piece, width)."""
        part = slice(first * self.rows, last * self.rows)
        for number, (weight, _) in self.given.feeds.items():
            gradient = emits[number]
            if number in self.inputs:
                multiply(gradient, weight, out=self.inputs[number][part])
            if self.needed.feeds[number].weight:
                x = self.given.streams[number][part]
                self.feeds[number] = add_product(self.feeds.get(number), gradient.t(), x.t())
        for found in self.loop.derivative.weights:
            if self.needed.weights[found.weight]:
                blocks = self._blocks(found)
                gradient = emits[found.emit][:, found.start : found.start + found.columns * blocks]
                for place, node in enumerate(found.inputs):
                    self._add(found, place, gradient, self._values(node, first, last), blocks)

    def _blocks(self, found: WeightGradient) -> int:
        return self.loop.graph.weights[found.weight].blocks

    def _add(self, found: WeightGradient, place: int, gradient: Tensor, x: Tensor, blocks: int) -> None:
        key = (found, place)
        if blocks == 1:
            self.parts[key] = add_product(self.parts.get(key), gradient.t(), x.t())
            return
        g = gradient.unflatten(1, (blocks, -1)).permute(1, 2, 0)
        total = g @ x.unflatten(1, (blocks, -1)).transpose(0, 1)
        self.parts[key] = self.parts[key] + total if key in self.parts else total

    def _values(self, node: Node, first: int, last: int) -> Tensor:
        """Return the values of a forward node in steps first..last, (rows, channels)."""
        part = slice(first * self.rows, last * self.rows)
        if node.op == "stream":
            number, column = node.attributes
            return self.given.streams[number][part, column : column + node.channels]
        if node.op == "carry":
            kind, (number, column), shift = "next", node.attributes, 0
        else:
            (kind, number, column), shift = self.loop.derivative.places[node], 1
        if kind == "next":
            array = self.left.histories[number][first + shift : last + shift].flatten(0, 1)
        else:
            kept = self.left.kept if kind == "kept" else None
            array = (self.left.emits[number] if kept is None else kept.tensor)[first:last].flatten(0, 1)
        return array[:, column : column + node.channels]

    def weight(self, number: int) -> Tensor:
        """Return the gradient of a matrix, from its parts."""
        weight = self.given.weights[number]
        parts = [(found, place, total) for (found, place), total in self.parts.items() if found.weight == number]
        if len(parts) == 1 and weight.ndim == 2 and parts[0][2].t().shape == weight.shape:
            return _like(parts[0][2], weight)
        result = torch.zeros_like(weight)
        for found, place, total in parts:
            row, columns = found.rows[place], slice(found.column, found.column + found.columns)
            if weight.ndim == 3:
                result[:, row : row + total.shape[-1], columns] += total.transpose(-1, -2)
            else:
                result[row : row + total.shape[1], columns] += total.t()
        return result


def _like(total: Tensor, weight: Tensor) -> Tensor:
    """Return the transpose of a (columns, rows) total, in the order of memory of the weight (rows, columns)."""
    return total.t() if weight.stride(0) == 1 else total.t().contiguous()


def _pick(sums: Tensor, places: list[tuple[int, int]]) -> Tensor:
    """Return the sums at places (start, stop): without a copy if they lie side by side."""
    if all(before[1] == after[0] for before, after in pairwise(places)):
        return sums[places[0][0] : places[-1][1]]
    return torch.cat([sums[start:stop] for start, stop in places])


def _vector_gradients(loop: Loop, given: Given, sums: Tensor) -> list[Tensor]:
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


def _differentiable(
    loop: Loop, shape: Shape, tensors: tuple[Any, ...], gradients: tuple[Tensor | None, ...], wanted: tuple[bool, ...]
) -> list[Tensor | None]:
    """The gradients of a loop with a graph of their own: computed again by torch operations."""
    given = shape.sort(tensors)
    streams = [
        torch.nn.functional.linear(x, given.feeds[n].weight.t(), given.feeds[n].bias) if n in given.feeds else x
        for n, x in enumerate(given.streams)
    ]
    emits, finals = interpret(loop.graph, shape.steps, shape.rows, streams, given.vectors, given.weights, given.states)
    reached = [(r, g) for r, g in zip((*emits, *finals), gradients, strict=True) if g is not None and r.requires_grad]
    results, arriving = [r for r, _ in reached], [g for _, g in reached]
    sources = [tensor for tensor, needed in zip(tensors, wanted, strict=True) if needed]
    found = iter(torch.autograd.grad(results, sources, arriving, create_graph=True, allow_unused=True))
    return [next(found) if needed else None for needed in wanted]
