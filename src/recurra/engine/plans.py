"""Which plan belongs to a cell: made once per kind of cell, tried against the reference, and kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from recurra.engine.capture.recording import tensors_of
from recurra.engine.capture.signature import quick_signature, signature
from recurra.engine.compiled import Plan, make_plan, run_plan
from recurra.engine.graphs.graph import CannotCompileError
from recurra.engine.loop import run_loop
from recurra.state import map_leaves, named_leaves

__all__ = ["find_plan"]

KEPT = 512  # plans, the most recently used
STEPS, ROWS = 3, 3  # of the trial
# Relative; a wrong derivative is off by far more, and some of torch's own hold constants of single precision.
CLOSE = {torch.float32: 1e-3, torch.float64: 1e-6}

_lock = threading.RLock()
_recent: dict[Hashable, tuple[Plan | str, list[Any]]] = {}
_plans: OrderedDict[Hashable, tuple[Plan | str, list[Any]]] = OrderedDict()


def find_plan(cell: Any, inputs: Any, state: Any, *, trains: bool) -> Plan | str:
    """Return the plan for cells like this one, or why there is none.

    A new plan is run beside the reference, on random numbers, before it is trusted: a step that keeps gradients from
    flowing by means that a recording does not show, or that takes turns by its numbers, gives itself away.

    Args:
        trains: are gradients wanted?
    """
    quick = quick_signature(cell, inputs)
    if quick is not None:
        known = _recent.get((quick[0], trains))
        if known is not None:
            return known[0]
    kind, held = signature(cell, inputs)
    key = (kind, trains)
    plan = _find(key, held, cell, inputs, state, trains)
    if quick is not None:
        if len(_recent) >= KEPT:
            _recent.clear()
        _recent[quick[0], trains] = (plan, quick[1])
    return plan


def _find(key: Hashable, held: list[Any], cell: Any, inputs: Any, state: Any, trains: bool) -> Plan | str:
    with _lock:
        if key in _plans:
            _plans.move_to_end(key)
            return _plans[key][0]
        plan: Plan | str
        try:
            plan = make_plan(cell, inputs, state)
            difference = _difference(plan, cell, inputs, trains)
            if difference:
                plan = f"compiled and by the reference, the step gives another {difference}"
        except CannotCompileError as error:
            plan = str(error)
        except Exception as error:  # whatever recording cannot bear; if the step is wrong, the loop will tell
            plan = f"the step cannot be recorded: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        _plans[key] = (plan, held)
        while len(_plans) > KEPT:
            _plans.popitem(last=False)
        return plan


def _difference(plan: Plan, cell: Any, inputs: Any, trains: bool) -> str | None:
    """Return what differs between the plan and the reference, if anything does."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(0)
        x = map_leaves(lambda leaf: _random(leaf, trains), inputs)
        state = map_leaves(lambda leaf: _random(leaf, trains, rows=leaf), cell.zero_state(ROWS))
        sources = [leaf for leaf in (*named_leaves(x).values(), *named_leaves(state).values()) if leaf.requires_grad]
        if trains:
            sources += [tensor for _, tensor in tensors_of(cell) if tensor.requires_grad]
        found = [_results(run, cell, x, state, sources) for run in (lambda *a: run_plan(plan, *a), run_loop)]
    for (name, ours), (_, theirs) in zip(*found, strict=True):
        scale = theirs.abs().max().clamp(min=1.0)
        if not torch.isfinite(theirs).all():
            continue
        if not (ours - theirs).abs().max() <= CLOSE[plan.dtype] * scale:
            return str(name)
    return None


def _random(leaf: Tensor, trains: bool, rows: Tensor | None = None) -> Tensor:
    shape = (ROWS, *leaf.shape[1:]) if rows is not None else (STEPS, ROWS, *leaf.shape[2:])
    if not leaf.is_floating_point():
        return torch.zeros(shape, dtype=leaf.dtype)
    around = torch.zeros(()) if rows is None else leaf.detach()
    return (around + torch.rand(shape, dtype=leaf.dtype)).to(leaf.dtype).requires_grad_(trains)


def _results(run: Any, cell: Any, x: Any, state: Any, sources: list[Tensor]) -> list[tuple[str, Tensor]]:
    if not sources:
        with torch.no_grad():
            outputs, final = run(cell, x, state)
        return [("output", outputs), *((f"state '{n}'", leaf) for n, leaf in named_leaves(final).items())]
    outputs, final = run(cell, x, state)
    results = [("output", outputs), *((f"state '{n}'", leaf) for n, leaf in named_leaves(final).items())]
    reached = [leaf for _, leaf in results if leaf.requires_grad]
    weights = [torch.linspace(0.5, 1.5, leaf.numel(), dtype=leaf.dtype).view_as(leaf) for leaf in reached]
    gradients = torch.autograd.grad(reached, sources, weights, allow_unused=True, materialize_grads=True)
    return [(name, leaf.detach()) for name, leaf in results] + [("gradient", gradient) for gradient in gradients]
