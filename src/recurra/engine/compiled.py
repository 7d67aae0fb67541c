"""Compiled scans: what stands before the loop, the loop as a native function, what stands after it.

Before and after are torch operations on all T·B rows, which autograd differentiates as ever. The loop is one autograd
function: its derivative is the loop of the derivative of the step.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.engine.aten import LOWERINGS
from recurra.engine.differentiate import Derivative, differentiate
from recurra.engine.graph import Graph, Node
from recurra.engine.interpreter import interpret
from recurra.engine.llvm.compiler import Program, compile_graph
from recurra.engine.lowering import Split, split
from recurra.engine.masking import Masked, mask
from recurra.engine.recording import CannotCompileError, find_tensor, record, replay
from recurra.state import from_named, named_leaves

__all__ = ["Plan", "make_plan", "run_plan"]

DTYPES = {torch.float32: "float32", torch.float64: "float64"}
SMALL = 200_000  # multiply-adds below which one thread is faster than several


@dataclass
class Plan:
    """How a kind of cell is run: its step, split, and the native functions compiled so far."""

    split: Split
    dtype: torch.dtype
    loops: dict[tuple[bool, bool, bool], Loop] = field(default_factory=dict)

    def loop(self, *, reset: bool, alive: bool, fresh_has_gradient: bool) -> Loop:
        """Return the loop with or without masks."""
        key = (reset, alive, fresh_has_gradient)
        if key not in self.loops:
            masks_output = self.split.output is None
            masked = mask(self.split.inside, reset=reset, alive=alive, masks_output=masks_output)
            self.loops[key] = Loop(masked, self.dtype, fresh_has_gradient)
        return self.loops[key]


class Loop:
    """The inside of a step as native functions, compiled when they are first needed.

    Args:
        fresh_has_gradient: does the state that rows are reset to depend on parameters?
    """

    def __init__(self, masked: Masked, dtype: torch.dtype, fresh_has_gradient: bool) -> None:
        self.masked = masked
        self.graph = masked.graph
        self.dtype = dtype
        constant = {n for n in (masked.reset, masked.alive) if n is not None}
        self.constant = constant if fresh_has_gradient else constant | set(masked.fresh)
        # a leaf of the next state that is emitted, too, is written once: its history is the array
        self.aliases = [_find(pieces, self.graph.next_carry) for pieces in self.graph.emits]
        self._derivative: Derivative | None = None
        self._programs: dict[str, Program] = {}

    @property
    def derivative(self) -> Derivative:
        """The backward step."""
        if self._derivative is None:
            self._derivative = differentiate(self.graph, self.constant)
        return self._derivative

    def histories(self, trains: bool) -> frozenset[int]:
        """Leaves of the state of which every step is written."""
        aliased = {leaf for leaf in self.aliases if leaf is not None}
        return frozenset(aliased | set(self.derivative.histories) if trains else aliased)

    def forward(self, trains: bool) -> Program:
        """The native function of the forward pass; when it trains, it keeps what the backward pass reads."""
        name = "train" if trains else "infer"
        if name not in self._programs:
            emits = [pieces for pieces, leaf in zip(self.graph.emits, self.aliases, strict=True) if leaf is None]
            if trains and self.derivative.kept:
                emits.append(tuple(self.derivative.kept))
            graph = replace(self.graph, emits=emits)
            self._programs[name] = self._compile(graph, backward=False, histories=self.histories(trains))
        return self._programs[name]

    def backward(self) -> Program:
        """The native function of the backward pass."""
        if "backward" not in self._programs:
            graph = self.derivative.graph
            self._programs["backward"] = self._compile(graph, backward=True, histories=frozenset())
        return self._programs["backward"]

    def _compile(self, graph: Graph, *, backward: bool, histories: frozenset[int]) -> Program:
        return compile_graph(graph, DTYPES[self.dtype], backward=backward, histories=histories)


def make_plan(cell: Any, inputs: Any, state: Any) -> Plan:
    """Record and split a cell's step for inputs (T, B, ...) and a state like these.

    Raises: CannotCompileError with the reason if the engine cannot compile it.
    """
    leaves = [*named_leaves(inputs).values(), *named_leaves(state).values()]
    if any(leaf.device.type != "cpu" for leaf in leaves):
        raise CannotCompileError("compiled loops run on a CPU")
    kinds = {leaf.dtype for leaf in named_leaves(state).values()}
    if len(kinds) != 1 or not kinds <= set(DTYPES):
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds)) or "nothing"
        raise CannotCompileError(f"compiled loops carry float32 or float64, and this state holds {names}")
    return Plan(split(record(cell, inputs, LOWERINGS)), kinds.pop())


def run_plan(
    plan: Plan, cell: Any, inputs: Any, state: Any, alive: Tensor | None = None, reset: Tensor | None = None
) -> tuple[Tensor, Any]:
    """Run a compiled cell over time; arguments and results as `recurra.engine.loop.run_loop`."""
    parts, recording = plan.split, plan.split.recording
    leaves = list(named_leaves(inputs).values())
    steps, rows = leaves[0].shape[:2]
    known = {n: leaf.flatten(0, 1) for n, leaf in zip(recording.inputs, leaves, strict=True)}
    known.update((n, find_tensor(cell, path)) for n, path in recording.captured.items())
    known.update((n, torch.tensor(value, dtype=plan.dtype)) for n, value in recording.numbers.items())
    replay(parts.before, known, steps * rows)
    streams = [known[number].reshape(steps * rows, -1).to(plan.dtype) for number, _ in parts.streams]
    fresh = list(named_leaves(cell.zero_state(rows)).values()) if reset is not None else []
    loop = plan.loop(
        reset=reset is not None, alive=alive is not None, fresh_has_gradient=any(f.requires_grad for f in fresh)
    )
    for present in (reset, alive):
        if present is not None:
            streams.append(present.reshape(-1, 1).to(plan.dtype))
    streams += [leaf.reshape(rows, -1) for leaf in fresh]
    vectors = [_vector(known[number], shape) for number, shape in parts.vectors]
    weights = [known[number] for number in parts.weights]
    carried = named_leaves(state)
    states = [leaf.reshape(rows, -1) for leaf in carried.values()]
    results = _run(loop, steps, rows, streams, vectors, weights, states)
    count = len(loop.graph.emits)
    emits, finals = results[:count], results[count:]
    final = from_named(state, {n: f.view(leaf.shape) for (n, leaf), f in zip(carried.items(), finals, strict=True)})
    if parts.output is None:
        return emits[0].view(steps, rows, *recording.shapes[recording.output][1:]), final
    for number, leaf in zip(parts.leaving, emits, strict=True):
        known[number] = leaf.view(steps * rows, *recording.shapes[number][1:])
    replay(parts.after, known, steps * rows)
    output = known[parts.output].view(steps, rows, *recording.shapes[parts.output][1:])
    if alive is not None:
        output = torch.where(alive.reshape(*alive.shape, *[1] * (output.ndim - 2)), output, output.new_zeros(()))
    return output, final


def _vector(tensor: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    if not shape:
        return tensor.reshape(-1)
    return tensor.reshape([size for size in tensor.shape if size != 1]).expand(shape).reshape(-1)


def _find(pieces: tuple[Node, ...], leaves: list[tuple[Node, ...]]) -> int | None:
    return leaves.index(pieces) if pieces in leaves else None


class _Shape(NamedTuple):
    steps: int
    rows: int
    streams: int
    vectors: int
    weights: int


def _run(
    loop: Loop,
    steps: int,
    rows: int,
    streams: list[Tensor],
    vectors: list[Tensor],
    weights: list[Tensor],
    states: list[Tensor],
) -> tuple[Tensor, ...]:
    tensors = (*streams, *vectors, *weights, *states)
    shape = _Shape(steps, rows, len(streams), len(vectors), len(weights))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _Scan.apply(loop, shape, *tensors)  # type: ignore[no-any-return, no-untyped-call]
    results, _ = _forward(loop, shape, tensors, trains=False)
    return results


class _Given(NamedTuple):
    streams: list[Tensor]
    vectors: list[Tensor]
    weights: list[Tensor]
    states: list[Tensor]


def _sort(shape: _Shape, tensors: tuple[Tensor, ...]) -> _Given:
    a = shape.streams
    b = a + shape.vectors
    c = b + shape.weights
    return _Given(
        [t.contiguous() for t in tensors[:a]], [t.contiguous() for t in tensors[a:b]], list(tensors[b:c]),
        list(tensors[c:]),
    )  # fmt: skip


def _forward(
    loop: Loop, shape: _Shape, tensors: tuple[Tensor, ...], trains: bool
) -> tuple[tuple[Tensor, ...], tuple[dict[int, Tensor], list[Tensor]]]:
    given, (steps, rows, *_) = _sort(shape, tensors), shape
    program, histories = loop.forward(trains), loop.histories(trains)
    carries = []
    for leaf, width in enumerate(loop.graph.carries):
        array = torch.empty(steps + 1 if leaf in histories else 2, rows, width, dtype=loop.dtype)
        array[0] = given.states[leaf]
        carries.append(array)
    widths = [sum(p.channels for p in pieces) for pieces in loop.graph.emits]
    written = [
        torch.empty(steps, rows, w, dtype=loop.dtype) for w, a in zip(widths, loop.aliases, strict=True) if a is None
    ]
    if trains and loop.derivative.kept:
        written.append(torch.empty(steps, rows, sum(node.channels for node in loop.derivative.kept), dtype=loop.dtype))
    _call(program, loop.dtype, steps, rows, given, carries, written)
    remaining = iter(written)
    emits = [next(remaining) if leaf is None else carries[leaf][1:] for leaf in loop.aliases]
    # copies: a final state that is part of the outputs would keep all of them in memory
    finals = [array[steps if leaf in histories else steps % 2].clone() for leaf, array in enumerate(carries)]
    kept = {leaf: carries[leaf] for leaf in histories}
    return (*emits, *finals), (kept, written)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loop: Loop, shape: _Shape, *tensors: Tensor) -> tuple[Tensor, ...]:
        results, (histories, written) = _forward(loop, shape, tensors, trains=True)
        ctx.save_for_backward(*tensors)
        ctx.loop, ctx.shape, ctx.histories, ctx.written = loop, shape, histories, written
        ctx.versions = [array._version for array in (*histories.values(), *written)]
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated in turn
            return (None, None, *_differentiable(ctx.loop, ctx.shape, tensors, gradients, ctx.needs_input_grad[2:]))
        if ctx.versions != [array._version for array in (*ctx.histories.values(), *ctx.written)]:
            raise RuntimeError(
                "the outputs of a scan were modified in place, and its backward pass reads them; modify a clone"
            )
        wanted = ctx.needs_input_grad[2:]
        return (None, None, *_backward(ctx.loop, ctx.shape, tensors, ctx.histories, ctx.written, gradients, wanted))


def _differentiable(
    loop: Loop,
    shape: _Shape,
    tensors: tuple[Tensor, ...],
    gradients: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
) -> list[Tensor | None]:
    """The gradients of a scan with a graph of their own: computed again by torch operations."""
    emits, finals = interpret(loop.graph, shape.steps, shape.rows, *_sort(shape, tensors))
    reached = [(r, g) for r, g in zip((*emits, *finals), gradients, strict=True) if g is not None and r.requires_grad]
    results, arriving = [r for r, _ in reached], [g for _, g in reached]
    sources = [tensor for tensor, needed in zip(tensors, wanted, strict=True) if needed]
    found = iter(torch.autograd.grad(results, sources, arriving, create_graph=True, allow_unused=True))
    return [next(found) if needed else None for needed in wanted]


def _backward(
    loop: Loop,
    shape: _Shape,
    tensors: tuple[Tensor, ...],
    histories: dict[int, Tensor],
    written: list[Tensor],
    gradients: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
) -> list[Tensor | None]:
    (steps, rows, *_), derivative, given = shape, loop.derivative, _sort(shape, tensors)
    program = loop.backward()
    emitted = [n for n, leaf in enumerate(loop.aliases) if leaf is None]
    count = len(loop.graph.emits)

    def source(kind: str, number: int) -> Tensor:
        if kind == "stream":
            return given.streams[number]
        if kind == "history":
            return histories[number]
        if kind == "kept":
            return written[-1]
        if kind == "emit":
            return written[emitted.index(number)]
        gradient = gradients[number]
        width = sum(p.channels for p in loop.graph.emits[number])
        return torch.zeros(steps, rows, width, dtype=loop.dtype) if gradient is None else gradient.contiguous()

    carries = []
    for leaf, width in enumerate(loop.graph.carries):
        array = torch.empty(2, rows, width, dtype=loop.dtype)
        gradient = gradients[count + leaf]
        array[0] = 0.0 if gradient is None else gradient
        carries.append(array)
    widths = [sum(p.channels for p in pieces) for pieces in derivative.graph.emits]
    emits = [torch.empty(steps, rows, width, dtype=loop.dtype) for width in widths]
    streams = [source(*found) for found in derivative.sources]
    inside = _Given(streams, given.vectors, given.weights, [])
    sums = _call(program, loop.dtype, steps, rows, inside, carries, emits)

    results: list[Tensor | None] = []
    for number, array in enumerate(loop.graph.streams):
        emit = emits[number] if number not in loop.constant else None
        results.append(None if emit is None else emit.flatten(0, 1) if array.per_step else emit.sum(0))
    results += _vector_gradients(derivative, given, sums)
    needed = wanted[shape.streams + shape.vectors :]
    results += [
        _weight_gradient(loop, n, weight, given, histories, written, emits) if needed[n] else None
        for n, weight in enumerate(given.weights)
    ]
    return [*results, *(array[steps % 2] for array in carries)]


def _vector_gradients(derivative: Derivative, given: _Given, sums: list[Tensor]) -> list[Tensor]:
    results = [torch.zeros_like(vector) for vector in given.vectors]
    for (number, column), total in zip(derivative.vectors, sums, strict=True):
        if len(results[number]) == 1:
            results[number] += total.sum()
        else:
            results[number][column : column + len(total)] += total
    return results


def _weight_gradient(
    loop: Loop,
    number: int,
    weight: Tensor,
    given: _Given,
    histories: dict[int, Tensor],
    written: list[Tensor],
    emits: list[Tensor],
) -> Tensor:
    """The gradient of a matrix: one product over all steps and rows for each of its parts."""
    parts = [part for part in loop.derivative.weights if part.weight == number]
    if len(parts) == 1 and weight.ndim == 2:
        (part,) = parts
        whole = part.columns == weight.shape[1] and len(part.inputs) == 1 and part.inputs[0].channels == weight.shape[0]
        if whole:
            inputs = _rows(loop, part.inputs[0], given, histories, written)
            gradients = emits[part.emit].flatten(0, 1)[:, part.start : part.start + part.columns]
            return (gradients.t() @ inputs).t() if weight.stride(0) == 1 else inputs.t() @ gradients
    result = torch.zeros_like(weight)
    for part in parts:
        blocks = weight.shape[0] if weight.ndim == 3 else 1
        gradients = emits[part.emit].flatten(0, 1)[:, part.start : part.start + part.columns * blocks]
        for piece, row in zip(part.inputs, part.rows, strict=True):
            inputs = _rows(loop, piece, given, histories, written)
            if weight.ndim == 2:
                result[row : row + piece.channels, part.column : part.column + part.columns] += inputs.t() @ gradients
            else:
                x = inputs.unflatten(1, (blocks, -1)).permute(1, 2, 0)
                g = gradients.unflatten(1, (blocks, -1)).transpose(0, 1)
                result[:, :, part.column : part.column + part.columns] += x @ g
    return result


def _rows(loop: Loop, node: Node, given: _Given, histories: dict[int, Tensor], written: list[Tensor]) -> Tensor:
    """Return the values of a forward node for all steps and rows, (T·B, channels)."""
    derivative = loop.derivative
    if node.op == "stream":
        number, column = node.attributes
        return given.streams[number][:, column : column + node.channels]
    if node.op == "carry":
        leaf, column = node.attributes
        return histories[leaf][:-1].flatten(0, 1)[:, column : column + node.channels]
    kind, number, column = derivative.places[node]
    if kind == "next":
        return histories[number][1:].flatten(0, 1)[:, column : column + node.channels]
    emitted = [n for n, leaf in enumerate(loop.aliases) if leaf is None]
    array = written[-1] if kind == "kept" else written[emitted.index(number)]
    return array.flatten(0, 1)[:, column : column + node.channels]


def _call(
    program: Program,
    dtype: torch.dtype,
    steps: int,
    rows: int,
    given: _Given,
    carries: list[Tensor],
    emits: list[Tensor],
) -> list[Tensor]:
    """Call a native function; return its sums over rows and steps."""
    layout = program.layout
    threads = torch.get_num_threads()
    by_rows = program.by_rows_only or rows >= 8 * threads
    if by_rows:
        threads = min(threads, rows)
    made = {
        "packed": [torch.empty(size, dtype=dtype) for size in layout.packed],
        "scratch": [torch.empty(rows * width, dtype=dtype) for width in program.scratch],
        "row": [
            torch.empty(rows * width, dtype=dtype) for _ in range(program.reductions) for width in (program.lanes, 1)
        ],
        "sum": [torch.zeros(threads, blocks, padded, dtype=dtype) for blocks, padded, _ in layout.sums],
        "stream": given.streams,
        "vector": given.vectors,
        "weight": given.weights,
        "carry": carries,
        "emit": emits,
    }
    table = (ctypes.c_void_p * len(layout.names))(*(made[kind][number].data_ptr() for kind, number in layout.names))
    strides = [stride for weight in given.weights for stride in _strides(weight)]
    program.team.run(
        program.address, table, (ctypes.c_int64 * max(1, len(strides)))(*strides), steps, rows, by_rows, threads
    )
    return [total.sum(0)[:, :size].flatten() for total, (_, _, size) in zip(made["sum"], layout.sums, strict=True)]


def _strides(weight: Tensor) -> tuple[int, int, int]:
    *block, row, column = weight.stride()
    return row, column, block[0] if block else 0
