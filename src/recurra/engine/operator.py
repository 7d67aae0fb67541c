"""Loops as operations of torch: what `torch.compile` and `torch.export` see of a scan.

    recurra::scan             emits and final states, and what the backward pass reads
    recurra::scan_backward    gradients of all that was given

Both carry the loop as text, so that an exported program needs neither the cell nor this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn import Parameter

from recurra.engine.native.backward import backward
from recurra.engine.native.forward import forward
from recurra.engine.native.given import Given, Left, Shape
from recurra.engine.native.loops import Loop
from recurra.engine.native.workspace import Loan
from recurra.engine.text import read_loop, write_loop
from recurra.errors import EngineError

__all__ = ["PLAIN", "is_exporting", "is_traced", "run_as_operation"]

PLAIN = (Tensor, Parameter)  # tensors that hold numbers

Tensors = Sequence[Tensor]
Fed = tuple[int, ...]


def is_traced(tensors: Iterable[Tensor]) -> bool:
    """Are these tensors of a tracer's, without numbers, or is somebody recording what is done to them?"""
    if any(type(tensor) not in PLAIN for tensor in tensors):
        return True
    if not torch._C._len_torch_dispatch_stack():
        return False
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    return get_proxy_mode() is not None


def run_as_operation(loop: Loop, steps: int, rows: int, given: Given) -> tuple[list[Tensor], list[Tensor]]:
    """Run a loop as one operation of torch's; arguments and results as `native.autograd.run_loop_natively`."""
    text = write_loop(loop, tuple(given.feeds))
    feeds = list(given.feeds.values())
    states = [state.to(loop.dtype) for state in given.states]
    groups = (given.streams, feeds, given.vectors, given.weights, states)
    # an exported program keeps nothing for a backward pass that it will hardly see: that one would run the loop again
    trains = torch.is_grad_enabled() and not is_exporting()
    trains = trains and any(tensor.requires_grad for group in groups for tensor in group)
    results = list(torch.ops.recurra.scan(*groups, steps, rows, text, trains))
    left, finals = _Layout.of(loop, trains).split(results)
    emits = [left.emits[n] if leaf is None else left.histories[leaf][1:] for n, leaf in enumerate(loop.aliases)]
    return emits, finals


def is_exporting() -> bool:
    """Is torch.export making a graph?"""
    asked = getattr(torch.compiler, "is_exporting", None)  # since torch 2.7
    return bool(asked and asked())


class _Layout(NamedTuple):
    """Which results the operation has: emits by number, histories that are emits, final states; and if it trains,
    kept values and the other histories."""

    emits: tuple[int, ...]
    aliased: tuple[int, ...]
    finals: int
    has_kept: bool
    others: tuple[int, ...]

    @classmethod
    def of(cls, loop: Loop, trains: bool) -> _Layout:
        emits = tuple(n for n, leaf in enumerate(loop.aliases) if leaf is None)
        aliased = tuple(sorted(loop.histories(False)))
        others = tuple(sorted(loop.histories(True) - loop.histories(False))) if trains else ()
        return cls(emits, aliased, len(loop.graph.carries), trains and bool(loop.derivative.kept), others)

    def join(self, left: Left, finals: Tensors) -> list[Tensor]:
        first = [*(left.emits[n] for n in self.emits), *(left.histories[leaf] for leaf in self.aliased), *finals]
        kept = [left.kept.keep()] if self.has_kept and left.kept is not None else []
        return [*first, *kept, *(left.histories[leaf] for leaf in self.others)]

    def split(self, results: Tensors) -> tuple[Left, list[Tensor]]:
        """Undo `join`."""
        rest = iter(results)
        emits = {n: next(rest) for n in self.emits}
        histories = {leaf: next(rest) for leaf in self.aliased}
        finals = [next(rest) for _ in range(self.finals)]
        kept = Loan.of(next(rest)) if self.has_kept else None
        histories.update((leaf, next(rest)) for leaf in self.others)
        return Left(histories, emits, kept), finals


def _given(fed: Fed, streams: Tensors, feeds: Tensors, vectors: Tensors, weights: Tensors, states: Tensors) -> Given:
    by_number = dict(zip(fed, feeds, strict=True))
    return Given(list(streams), by_number, list(vectors), list(weights), list(states))


def _check(loop: Loop, fed: Fed, steps: int, rows: int, groups: Sequence[Tensors], left: Tensors | None = None) -> None:
    """Check shapes and types: native code believes its graph.

    Raises: EngineError.
    """
    graph, streams = loop.graph, groups[0]
    expected: list[Sequence[int | None]] = []
    is_flat = 0  # matrices that should be several
    for number, array in enumerate(graph.streams):
        width = None if number in fed else array.width
        expected.append((steps * rows if array.per_step else rows, width))
    expected += [(streams[number].shape[-1], graph.streams[number].width) for number in fed]
    expected += [(width,) for width in graph.vectors]
    for weight, tensor in zip(graph.weights, groups[3], strict=False):
        blocks = (weight.blocks,) if tensor.ndim == 3 else ()
        expected.append((*blocks, weight.rows, weight.columns))
        is_flat += not blocks and weight.blocks != 1
    if left is None:
        expected += [(rows, width) for width in graph.carries]
    else:
        expected += _shapes(loop, steps, rows, _Layout.of(loop, True)._replace(finals=0))
    found = [tensor for group in groups for tensor in group] + list(left or ())
    if steps < 1 or rows < 1 or is_flat or len(found) != len(expected):
        raise EngineError(f"a scan of {steps} steps and {rows} rows reads {len(expected)} tensors; found {len(found)}")
    for tensor, shape in zip(found, expected, strict=True):
        fits = len(shape) == tensor.ndim and all(b in (None, a) for a, b in zip(tensor.shape, shape, strict=True))
        if not fits or tensor.dtype != loop.dtype:
            raise EngineError(
                f"a scan reads a tensor of {loop.dtype} {tuple(shape)}; found {tensor.dtype} {tuple(tensor.shape)}"
            )


def _shapes(loop: Loop, steps: int, rows: int, layout: _Layout) -> list[Sequence[int]]:
    graph = loop.graph
    histories = {leaf: (steps + 1, rows, width) for leaf, width in enumerate(graph.carries)}
    shapes: list[Sequence[int]] = [(steps, rows, sum(piece.channels for piece in graph.emits[n])) for n in layout.emits]
    shapes += [histories[leaf] for leaf in layout.aliased]
    shapes += [(rows, width) for width in graph.carries[: layout.finals]]
    if layout.has_kept:
        shapes.append((steps, rows, sum(node.channels for node in loop.derivative.kept)))
    return shapes + [histories[leaf] for leaf in layout.others]


@custom_op(
    "recurra::scan",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor[] streams, Tensor[] feeds, Tensor[] vectors, Tensor[] weights, Tensor[] states, "
    "SymInt steps, SymInt rows, str program, bool trains) -> Tensor[]",
)
def _scan(
    streams: Tensors,
    feeds: Tensors,
    vectors: Tensors,
    weights: Tensors,
    states: Tensors,
    steps: int,
    rows: int,
    program: str,
    trains: bool,
) -> list[Tensor]:
    loop, fed = read_loop(program)
    groups = (streams, feeds, vectors, weights, states)
    _check(loop, fed, steps, rows, groups)
    _, finals, left = forward(loop, steps, rows, _given(fed, *groups), trains)
    return _Layout.of(loop, trains).join(left, finals)


@_scan.register_fake
def _(
    streams: Tensors,
    feeds: Tensors,
    vectors: Tensors,
    weights: Tensors,
    states: Tensors,
    steps: int,
    rows: int,
    program: str,
    trains: bool,
) -> list[Tensor]:
    loop = read_loop(program).loop
    shapes = _shapes(loop, steps, rows, _Layout.of(loop, trains))
    like = (*states, *streams)[0]
    return [like.new_empty(shape, dtype=loop.dtype) for shape in shapes]


@custom_op(
    "recurra::scan_backward",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor[] streams, Tensor[] feeds, Tensor[] vectors, Tensor[] weights, Tensor[] left, "
    "Tensor?[] gradients, bool[] wanted, SymInt steps, SymInt rows, str program) -> Tensor[]",
)
def _scan_backward(
    streams: Tensors,
    feeds: Tensors,
    vectors: Tensors,
    weights: Tensors,
    left: Tensors,
    gradients: Sequence[Tensor | None],
    wanted: Sequence[bool],
    steps: int,
    rows: int,
    program: str,
) -> list[Tensor]:
    loop, fed = read_loop(program)
    _check(loop, fed, steps, rows, (streams, feeds, vectors, weights, ()), left)
    given = _given(fed, streams, feeds, vectors, weights, ())
    flat = given.flatten()
    shape = Shape(steps, rows, len(streams), tuple(given.feeds), len(vectors), len(weights))
    without_finals = _Layout.of(loop, True)._replace(finals=0)
    found = backward(loop, shape, tuple(flat), without_finals.split(left)[0], tuple(gradients), tuple(wanted))
    likes = _likes(loop, rows, streams, feeds, vectors, weights, wanted)
    return [_laid_out(found[n], like) for n, like in likes]


@_scan_backward.register_fake
def _(
    streams: Tensors,
    feeds: Tensors,
    vectors: Tensors,
    weights: Tensors,
    left: Tensors,
    gradients: Sequence[Tensor | None],
    wanted: Sequence[bool],
    steps: int,
    rows: int,
    program: str,
) -> list[Tensor]:
    loop = read_loop(program).loop
    return [like for _, like in _likes(loop, rows, streams, feeds, vectors, weights, wanted)]


def _likes(
    loop: Loop,
    rows: int,
    streams: Tensors,
    feeds: Tensors,
    vectors: Tensors,
    weights: Tensors,
    wanted: Sequence[bool],
) -> list[tuple[int, Tensor]]:
    """Return (number, tensor of the shape and order of memory of its gradient) for all that is wanted."""
    given = [*streams, *feeds, *vectors, *weights]
    matrices = range(len(streams), len(given))  # their gradients come in the matrix's own order, to be transposed back
    likes = []
    for n in (n for n, is_wanted in enumerate(wanted) if is_wanted):
        if n in matrices:
            likes.append((n, torch.empty_like(given[n])))
        elif n < len(given):
            likes.append((n, given[n].new_empty(given[n].shape)))
        else:
            likes.append((n, (*streams, *weights)[0].new_empty((rows, loop.graph.carries[n - len(given)]))))
    return likes


def _laid_out(gradient: Tensor | None, like: Tensor) -> Tensor:
    if gradient is None:  # nothing flows there
        return like.zero_()
    # copies also what shares memory with other results, which small ones do
    is_own = gradient.untyped_storage().nbytes() == like.untyped_storage().nbytes()
    return gradient if is_own and gradient.stride() == like.stride() else like.copy_(gradient)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    groups = inputs[:5]
    ctx.set_materialize_grads(False)
    ctx.ends = list(accumulate((len(group) for group in (*groups, output)), initial=0))
    ctx.rest = inputs[5:]
    ctx.save_for_backward(*(tensor for group in (*groups, output) for tensor in group))


def _differentiate(ctx: Any, gradients: Sequence[Tensor | None]) -> tuple[Any, ...]:
    saved, (steps, rows, program, trains) = ctx.saved_tensors, ctx.rest
    *groups, results = ([*saved[a:b]] for a, b in pairwise(ctx.ends))
    wanted = [bool(needed) for group in ctx.needs_input_grad[:5] for needed in group]
    loop = read_loop(program).loop
    if not trains:
        results = list(torch.ops.recurra.scan(*groups, steps, rows, program, True))
    layout = _Layout.of(loop, True)
    (histories, emits, _), finals = layout._replace(has_kept=False, others=()).split(gradients)  # type: ignore[arg-type]
    arriving: list[Tensor | None] = []
    for number, leaf in enumerate(loop.aliases):
        history = None if leaf is None else histories.pop(leaf, None)  # once: two emits may be one history
        arriving.append(emits[number] if leaf is None else None if history is None else history[1:])
    start = len(layout.emits) + len(layout.aliased)
    left = results[:start] + results[start + layout.finals :]
    found = torch.ops.recurra.scan_backward(*groups[:4], left, [*arriving, *finals], wanted, steps, rows, program)
    rest = iter(found)
    by_group = [[next(rest) if needed else None for needed in wanted[a:b]] for a, b in pairwise(ctx.ends[:6])]
    return (*by_group, None, None, None, None)


_scan.register_autograd(_differentiate, setup_context=_keep)
