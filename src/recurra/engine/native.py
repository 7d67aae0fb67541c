"""Compiled loops on tensors: forward, backward, and the products around them, piece by piece of time.

The product that makes a stream from the input is done for some steps at a time, right before the loop reads
it; the products that make gradients follow the backward loop in the same way. What passes between them stays in the
cache of the processor, and no tensor of all steps is made for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from recurra.engine.calling import Call
from recurra.engine.given import Given, Left, Shape
from recurra.engine.gradients import LoopProducts, like, vector_gradients
from recurra.engine.interpreter import interpret
from recurra.engine.loops import Loop
from recurra.engine.products import multiply
from recurra.engine.workspace import Loan

__all__ = ["Given", "Left", "Shape", "backward", "forward", "run_loop_natively"]

PIECE_BYTES = 3 << 19  # of streams and gradients at a time: what a core's second cache holds beside the weights
LEAST_ROWS = 256  # of a product, for it to be as fast as a large one


def run_loop_natively(loop: Loop, steps: int, rows: int, given: Given) -> tuple[list[Tensor], list[Tensor]]:
    """Run a compiled loop.

    Returns: (emits (T, B, width), final state (B, width) of each leaf).
    Gradient: into all that is given.
    """
    tensors = given.flatten()
    count = len(loop.graph.emits)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        shape = Shape(steps, rows, len(given.streams), tuple(given.feeds), len(given.vectors), len(given.weights))
        results = _Scan.apply(loop, shape, *tensors)
        return list(results[:count]), list(results[count:])
    emits, finals, _ = forward(loop, steps, rows, given, trains=False)
    return emits, finals


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
    """Run the loop forward.

    Returns: (emits (T, B, width), final state (B, width) of each leaf, what the backward pass reads if it trains).
    """
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
    call = Call(program, loop.dtype, steps, rows, carries, histories, given)
    streams = [stream.contiguous() for stream in given.streams]
    room: dict[int, Loan] = {}
    for first, last in _pieces(steps, rows, [loop.graph.streams[n].width for n in given.feeds]):
        part, length = slice(first * rows, last * rows), (last - first) * rows  # the first piece is the longest
        room = room or {n: Loan(length, loop.graph.streams[n].width, dtype=loop.dtype) for n in given.feeds}
        fed = {n: room[n].tensor[:length] for n in given.feeds}
        for n, weight in given.feeds.items():
            multiply(streams[n][part], weight.t(), out=fed[n])
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
    call = Call(loop.backward(), loop.dtype, steps, rows, carries, frozenset(), given)
    products = LoopProducts(loop, given, needed, left, rows)
    room: dict[int, Loan] = {}
    for first, last in _pieces(steps, rows, [widths[n] for n in fixed], from_end=True):
        length = (last - first) * rows  # the first piece is the longest
        room = room or {n: Loan(length, widths[n], dtype=loop.dtype) for n in fixed}
        piece = {n: loan.tensor[:length] for n, loan in room.items()}
        fed = products.again(first, last, derivative.sources)
        call.run(
            first,
            last,
            [fed.get(n, whole_stream) for n, whole_stream in enumerate(streams)],
            [piece[n] if n in fixed else whole[n] for n in range(len(widths))],
            fixed_streams=set(fed),
            fixed_emits=fixed,
        )
        part = slice(first * rows, last * rows)
        products.add(first, last, {**piece, **{n: array.flatten(0, 1)[part] for n, array in whole.items()}})
    sums = call.sums()
    results: list[Tensor | None] = []
    for number, stream in enumerate(loop.graph.streams):
        if number in given.feeds:
            results.append(products.inputs.get(number))
        elif number in loop.constant:
            results.append(None)
        else:
            results.append(whole[number].flatten(0, 1) if stream.per_step else whole[number].sum(0))
    for number, weight in given.feeds.items():
        total = products.feeds.get(number)
        results.append(None if total is None else like(total, weight))
    results += vector_gradients(loop, given, sums)
    results += [products.weight(n) if needed.weights[n] else None for n in range(len(given.weights))]
    return [*results, *(array[steps % 2] for array in carries)]


def _differentiable(
    loop: Loop, shape: Shape, tensors: tuple[Any, ...], gradients: tuple[Tensor | None, ...], wanted: tuple[bool, ...]
) -> list[Tensor | None]:
    """The gradients of a loop with a graph of their own: computed again by torch operations."""
    given = shape.sort(tensors)
    streams = [x @ given.feeds[n] if n in given.feeds else x for n, x in enumerate(given.streams)]
    emits, finals = interpret(loop.graph, shape.steps, shape.rows, streams, given.vectors, given.weights, given.states)
    reached = [(r, g) for r, g in zip((*emits, *finals), gradients, strict=True) if g is not None and r.requires_grad]
    results, arriving = [r for r, _ in reached], [g for _, g in reached]
    sources = [tensor for tensor, needed in zip(tensors, wanted, strict=True) if needed]
    found = iter(torch.autograd.grad(results, sources, arriving, create_graph=True, allow_unused=True))
    return [next(found) if needed else None for needed in wanted]
