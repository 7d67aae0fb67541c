"""Compiled scans: what stands before the loop, the loop as a native function, what stands after it.

Before and after are torch operations on all T·B rows, which autograd differentiates as ever. The loop is one autograd
function: its derivative is the loop of the derivative of the step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recurra.engine.capture.aten import LOWERINGS
from recurra.engine.capture.feeding import add_biases, find_feeds
from recurra.engine.capture.lowering import Split, split
from recurra.engine.capture.recording import Batch, Call, Reference, find_tensor, record, replay
from recurra.engine.graphs.graph import CannotCompileError
from recurra.engine.graphs.masking import mask
from recurra.engine.native.autograd import run_loop_natively
from recurra.engine.native.given import Given
from recurra.engine.native.loops import DTYPES, Loop
from recurra.engine.operator import is_traced, run_as_operation
from recurra.state import map_leaves, named_leaves

__all__ = ["Plan", "make_plan", "run_plan"]


@dataclass
class Plan:
    """How a kind of cell is run: its step, split, and the native functions compiled so far."""

    split: Split
    dtype: torch.dtype
    loops: dict[tuple[bool, bool, bool, bool], Loop] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.feeds = find_feeds(self.split)
        made = {self.split.streams[stream].number for stream in self.feeds}
        before = [call for call in self.split.before if not made.intersection(call.outputs)]
        self.before, self.after = _Replay(before), _Replay(self.split.after)
        feeds = self.feeds
        self.read = [feeds[n].x if n in feeds else stream.number for n, stream in enumerate(self.split.streams)]
        self.biases = [feed.bias for feed in feeds.values() if feed.bias is not None]

    def loop(self, *, reset: bool, alive: bool, gate: bool = False, fresh_has_gradient: bool) -> Loop:
        """Return the loop with or without masks."""
        key = (reset, alive, gate, fresh_has_gradient)
        if key not in self.loops:
            masks_output = self.split.output is None
            graph = add_biases(self.split.inside, [n for n, feed in self.feeds.items() if feed.bias is not None])
            masked = mask(graph, reset=reset, alive=alive, gate=gate, masks_output=masks_output)
            self.loops[key] = Loop(masked, self.dtype, fresh_has_gradient)
        return self.loops[key]


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
    plan: Plan,
    cell: Any,
    inputs: Any,
    state: Any,
    alive: Tensor | None = None,
    reset: Tensor | None = None,
    gate: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Run a compiled cell over time; arguments and results as `recurra.engine.loop.run_loop`."""
    parts, recording = plan.split, plan.split.recording
    leaves = list(named_leaves(inputs).values())
    steps, rows = leaves[0].shape[:2]
    known = {n: leaf.flatten(0, 1) for n, leaf in zip(recording.inputs, leaves, strict=True)}
    known.update((n, find_tensor(cell, path)) for n, path in recording.captured.items())
    known.update((n, torch.tensor(value, dtype=plan.dtype)) for n, value in recording.numbers.items())
    plan.before.run(known, steps * rows)
    streams = [_flat(known[number], steps * rows).to(plan.dtype) for number in plan.read]
    feeds = {n: known[feed.weight] for n, feed in plan.feeds.items()}
    fresh = list(named_leaves(cell.zero_state(rows)).values()) if reset is not None else []
    loop = plan.loop(
        reset=reset is not None,
        alive=alive is not None,
        gate=gate is not None,
        fresh_has_gradient=any(f.requires_grad for f in fresh),
    )
    for present in (reset, alive, gate):
        if present is not None:
            streams.append(present.reshape(-1, 1).to(plan.dtype))
    streams += [_flat(leaf, rows) for leaf in fresh]
    vectors = [_vector(known[number], shape) for number, shape in parts.vectors]
    vectors += [known[bias] for bias in plan.biases]
    weights = [known[number] for number in parts.weights]
    states = [_flat(leaf, rows) for leaf in named_leaves(state).values()]
    run = run_as_operation if is_traced((*streams, *weights, *states)) else run_loop_natively
    emits, finals = run(loop, steps, rows, Given(streams, feeds, vectors, weights, states))
    after = iter(finals)
    final = map_leaves(lambda leaf: next(after).view(leaf.shape) if leaf.ndim != 2 else next(after), state)
    if parts.output is None:
        shape = recording.shapes[recording.output][1:]
        return emits[0] if len(shape) == 1 else emits[0].view(steps, rows, *shape), final
    for number, leaf in zip(parts.leaving, emits, strict=True):
        known[number] = leaf.view(steps * rows, *recording.shapes[number][1:])
    plan.after.run(known, steps * rows)
    output = known[parts.output].view(steps, rows, *recording.shapes[parts.output][1:])
    if alive is not None:
        output = torch.where(alive.reshape(*alive.shape, *[1] * (output.ndim - 2)), output, output.new_zeros(()))
    return output, final


def _flat(tensor: Tensor, rows: int) -> Tensor:
    """Return a tensor as (rows, numbers); a view costs autograd a node, so only where it is needed."""
    return tensor if tensor.ndim == 2 else tensor.reshape(rows, -1)


def _vector(tensor: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    if not shape:
        return tensor if tensor.ndim == 1 else tensor.reshape(-1)
    return tensor.reshape([size for size in tensor.shape if size != 1]).expand(shape).reshape(-1)


class _Replay:
    """Calls that are performed again and again: those of one result with plain arguments in the shortest way."""

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls
        self.is_plain = [
            len(call.outputs) == 1 and not call.kwargs and not any(isinstance(a, (Batch, list)) for a in call.args)
            for call in calls
        ]

    def run(self, known: dict[int, Tensor], rows: int) -> None:
        for call, plain in zip(self.calls, self.is_plain, strict=True):
            if plain:
                arguments = [known[a.number] if type(a) is Reference else a for a in call.args]
                known[call.outputs[0]] = call.function(*arguments)  # type: ignore[index]
            else:
                replay([call], known, rows)
