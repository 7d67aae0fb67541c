"""`scan`: the one way to run a cell through time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recurra.engine.backprop import Full, unroll
from recurra.engine.choice import check_cell_methods, choose_path
from recurra.engine.operator import is_traced
from recurra.engine.policy import Policy
from recurra.errors import BackpropError, ShapeError
from recurra.state import batch_size, check_like, map_leaves, named_leaves

__all__ = ["scan"]


def scan(
    cell: Any,
    inputs: Any,
    state: Any = None,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    reverse: bool = False,
    backprop: Policy | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Any]:
    """Run a cell over a sequence: ``state_t, output_t = cell.step(inputs[t], state_{t-1})``.

    Args:
        cell: anything with ``step(x, state) -> (output, state)`` and ``zero_state(batch)``.
        inputs: (T, B, I) float, time first, or a tree of (T, B, ...) tensors, T >= 1.
        state: state of B rows to start from; not mutated. Default: ``cell.zero_state(B)``.
        lengths: (B,) int, 0 to T. Steps past a row's end leave its state as it was and output zeros.
        reset: (T, B) bool. Where true, the row starts from ``zero_state`` before that step.
        reverse: read each row from its last valid step to its first. Outputs stay at the time of their input; `reset`
            marks the first step in reading order.
        backprop: how far gradients travel; default `Full()`.
        backend: "auto" takes what is fastest, "llvm" insists on a compiled loop, "library" on a kernel of torch, "loop"
            is the reference.
    Returns: (outputs (T, B, O), final state), the state of the type given.
    Raises: ShapeError or StateError if sizes or structures disagree; EngineError if the backend cannot run the cell.
    Gradient: into inputs, parameters and the given state, unless the policy cuts it.
    """
    steps, rows = _check_inputs(cell, inputs)
    policy = Full() if backprop is None else backprop
    if not isinstance(policy, Policy):
        raise BackpropError(f"backprop is a policy such as Truncated(64) or Full(), not {policy!r}")
    fresh = cell.zero_state(rows)
    if state is None:
        state = fresh
    else:
        if batch_size(state) not in (rows, None):
            raise ShapeError(f"inputs have {rows} rows, but the state has {batch_size(state)}; give one state per row")
        check_like(policy.value(state), fresh, "the given state")
    alive = _alive(lengths, steps, rows, inputs)
    if reset is not None and (reset.shape != (steps, rows) or reset.dtype != torch.bool):
        raise ShapeError(f"reset must be ({steps}, {rows}) bool, not {tuple(reset.shape)} {reset.dtype}")
    run = choose_path(cell, inputs, policy.value(state), backend).run
    if reset is not None and alive is not None:
        reset = reset & alive  # a mark in the padding must not touch the final state
    flip = _flip(lengths, steps) if reverse else None
    if flip is not None:
        inputs = map_leaves(flip, inputs)
        reset = flip(reset) if reset is not None else None

    policy.check(cell, inputs)
    gate = policy.gate(steps, rows)
    if gate is not None:
        if any(leaf.dtype in (torch.bfloat16, torch.float16) for leaf in named_leaves(policy.value(state)).values()):
            raise BackpropError(f"the factors of {policy} are lost in numbers of 16 bits; carry the state in float32")
        gate = gate.to(_device(inputs))
        gate = gate if alive is None else torch.where(alive, gate, 1)  # nothing happens past the end of a row

    def segment(piece: Any, state: Any) -> tuple[Tensor, Any]:
        x, *masks = piece
        return run(cell, x, state, *masks)

    outputs, state = unroll(segment, (inputs, alive, reset, gate), state, policy, partial(_tensors, cell))
    return (outputs if flip is None else flip(outputs)), state


def _tensors(cell: Any) -> list[Tensor]:
    """Return the tensors of a cell that gradients flow into."""
    parameters = cell.parameters() if isinstance(cell, nn.Module) else ()
    return [parameter for parameter in parameters if parameter.requires_grad]


def _check_inputs(cell: Any, inputs: Any) -> tuple[int, int]:
    check_cell_methods(cell)
    leaves = named_leaves(inputs).values()
    shapes = [tuple(leaf.shape[:2]) for leaf in leaves]  # no set: sizes may be symbols
    if not shapes or len(shapes[0]) != 2 or any(shape != shapes[0] for shape in shapes):
        found = sorted(set(shapes))
        raise ShapeError(f"inputs must be (T, B, ...) tensors of equal T and B, time first; found {found}")
    if isinstance(inputs, Tensor):
        size = getattr(cell, "input_size", None)
        if isinstance(size, int) and (inputs.ndim != 3 or inputs.shape[2] != size):
            raise ShapeError(f"inputs have shape {tuple(inputs.shape)}, but the cell reads (T, B, {size})")
    steps, rows = shapes[0]
    if steps < 1 or rows < 1:
        raise ShapeError(f"inputs need at least one step and one row; found T={steps}, B={rows}")
    return steps, rows


def _device(inputs: Any) -> torch.device:
    return next(iter(named_leaves(inputs).values())).device


def _alive(lengths: Tensor | None, steps: int, rows: int, inputs: Any) -> Tensor | None:
    """(T, B) bool: is step t within the row? None if all are."""
    if lengths is None:
        return None
    if lengths.shape != (rows,) or lengths.is_floating_point():
        raise ShapeError(f"lengths must be ({rows},) integers, not {tuple(lengths.shape)} {lengths.dtype}")
    if torch.compiler.is_compiling() or is_traced((lengths,)):  # numbers are not known before the graph runs
        torch._assert_async(((lengths >= 0) & (lengths <= steps)).all(), "lengths must lie in 0..T")
    elif int(lengths.min()) < 0 or int(lengths.max()) > steps:
        raise ShapeError(f"lengths must lie in 0..{steps}; found {int(lengths.min())}..{int(lengths.max())}")
    device = _device(inputs)
    return torch.arange(steps, device=device).unsqueeze(1) < lengths.to(device)


def _flip(lengths: Tensor | None, steps: int) -> Callable[[Tensor], Tensor]:
    """Return the function that reads every row backwards; its own inverse. Padding stays where it is."""
    if lengths is None:
        return lambda leaf: leaf.flip(0)
    time = torch.arange(steps, device=lengths.device).unsqueeze(1)
    index = torch.where(time < lengths, lengths - 1 - time, time)

    def flip(leaf: Tensor) -> Tensor:
        at = index.to(leaf.device).reshape(*index.shape, *[1] * (leaf.ndim - 2))
        return leaf.gather(0, at.expand_as(leaf))

    return flip
