"""The reference: a cell run through time by a Python loop. This is the definition of right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.engine.gate import scale_gradient
from recurra.state import check_like, map_leaves
from recurra.state import reset as reset_rows

__all__ = ["run_loop"]


def run_loop(
    cell: Any,
    inputs: Any,
    state: Any,
    alive: Tensor | None = None,
    reset: Tensor | None = None,
    gate: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Fold ``cell.step`` over time.

    Args:
        inputs: tree of (T, B, ...) tensors, T >= 1.
        state: B rows.
        alive: (T, B) bool; where false the state stays as it was and the output is zero.
        reset: (T, B) bool; where true the row starts afresh before the step.
        gate: (T, B) factors of the gradient of the state that enters the step.
    Returns: (outputs (T, B, O), final state).
    Gradient: through every step, scaled by the gate.
    """
    some_leaf = inputs if isinstance(inputs, Tensor) else _first_leaf(inputs)
    fresh = cell.zero_state(some_leaf.shape[1]) if reset is not None else None
    outputs: list[Tensor] = []
    for t in range(some_leaf.shape[0]):
        if gate is not None:
            state = scale_gradient(state, gate[t])
        if reset is not None:
            state = reset_rows(state, reset[t], fresh)
        output, next_state = cell.step(map_leaves(lambda leaf, t=t: leaf[t], inputs), state)
        if not outputs:
            check_like(next_state, state, "the state after a step")
        if alive is not None:
            output = torch.where(alive[t].unsqueeze(-1), output, torch.zeros_like(output))
            next_state = reset_rows(state, alive[t], next_state)
        outputs.append(output)
        state = next_state
    return torch.stack(outputs), state


def _first_leaf(tree: Any) -> Tensor:
    while not isinstance(tree, Tensor):
        tree = tree[0]
    return tree
