"""Laws on what a cell computes and on its gradients: in one piece, in chunks, in windows, on every backend."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recurra.engine import BACKENDS, Policy, Schedule, Truncated, choose_path, scan
from recurra.engine.policies.recompute import fold_by_schedule
from recurra.errors import EngineError
from recurra.state import fork, from_named, named_leaves
from recurra.testing.case import Case, fold, law, start
from recurra.testing.compare import assert_equal, assert_same, floating, gradients, windows_by_hand

__all__ = [
    "check_backends",
    "check_chunking",
    "check_fold",
    "check_gradients",
    "check_recomputation",
    "check_truncation",
]


def _scanned(cell: Any, case: Case, state: Any, **options: Any) -> dict[str, Any]:
    return gradients(cell, lambda x, s: scan(cell, x, s, **options), case.inputs, state)


@law("scan is the fold of step")
def check_fold(cell: Any, case: Case) -> None:
    """Outputs, final state and all gradients of a scan are those of calling step again and again."""
    state = start(cell, case)
    by_hand = gradients(cell, lambda x, s: fold(cell, x, s), case.inputs, state)
    for backend in ("auto", "loop"):
        assert_same(f"backend {backend}", _scanned(cell, case, state, backend=backend), by_hand)


@law("chunking anywhere changes nothing")
def check_chunking(cell: Any, case: Case) -> None:
    """A sequence scanned in two pieces gives the same as in one, gradients across the cut included."""
    state, cut = start(cell, case), case.cut
    if cut == len(case.inputs):
        return

    def pieces(x: Tensor, s: Any, carry: Callable[[Any], Any] = lambda s: s) -> tuple[Tensor, Any]:
        first, s = scan(cell, x[:cut], s)
        second, s = scan(cell, x[cut:], carry(s))
        return torch.cat([first, second]), s

    whole = _scanned(cell, case, state)
    assert_same(f"cut at {cut}", gradients(cell, pieces, case.inputs, state), whole)
    with torch.no_grad():
        outputs, final = pieces(case.inputs, state, fork)
    assert_equal(f"cut at {cut}, state copied: outputs", outputs, whole["outputs"])
    assert_equal(f"cut at {cut}, state copied: final state", final, whole["final state"])


@law("gradients are the derivatives, of the initial and through the final state too")
def check_gradients(cell: Any, case: Case) -> None:
    """``torch.autograd.gradcheck`` in float64, without and with ends and resets."""
    cell = copy.deepcopy(cell).double()
    inputs = case.inputs.double().clone().requires_grad_()
    initial = start(cell, dataclasses.replace(case, history=case.history.double(), inputs=inputs))
    leaves = {name: leaf.requires_grad_(leaf.is_floating_point()) for name, leaf in named_leaves(initial).items()}
    parameters = [parameter for parameter in cell.parameters() if parameter.requires_grad]

    def seen(masks: dict[str, Any], x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        # the parameters, last among the arguments, are moved in place by gradcheck
        state = from_named(initial, dict(zip(leaves, rest, strict=False)))
        outputs, final = scan(cell, x, state, **masks)
        # gradcheck passes over what requires no gradient, but a cell that detached it is to be found out
        return tuple(leaf + 0 * x.sum() for leaf in floating(outputs, final))

    for masks in ({}, {"lengths": case.lengths, "reset": case.reset}):
        arguments = (inputs, *leaves.values(), *parameters)
        torch.autograd.gradcheck(partial(seen, masks), arguments, fast_mode=True, check_undefined_grad=False)


@law("truncation cuts gradients at the borders of its windows and nowhere else")
def check_truncation(cell: Any, case: Case) -> None:
    """A window of T or more is full back-propagation; a shorter one is windows run, and differentiated, one by one."""
    state, steps = start(cell, case), len(case.inputs)
    full = _scanned(cell, case, state)
    for window in (steps, steps + 1):
        whole = _scanned(cell, case, state, backprop=Truncated(window))
        assert_same(f"window {window} of {steps} steps", whole, full)
    by_hand = windows_by_hand(cell, case.inputs, state, case.cut)
    cut = _scanned(cell, case, state, backprop=Truncated(case.cut))
    assert_same(f"window {case.cut} of {steps} steps", cut, by_hand)


@law("computing steps anew for their gradients changes nothing")
def check_recomputation(cell: Any, case: Case) -> None:
    """Steps recomputed in segments, from a state that is kept and one that is not, have the gradients of full."""
    state, steps = start(cell, case), len(case.inputs)
    schedule = Schedule(steps, length=-(-steps // 4), taped=1, states=1, memory_bytes=0)
    options = {"lengths": case.lengths, "reset": case.reset}
    found = _scanned(cell, case, state, **options, backprop=_BySchedule(schedule))
    assert_same(f"{schedule.segments} segments of {steps} steps", found, _scanned(cell, case, state, **options))


@dataclass(frozen=True)
class _BySchedule(Policy):
    """Back-propagation by a given schedule."""

    schedule: Schedule

    @property
    def memory(self) -> Any:  # type: ignore[override]
        return self

    def fold(self, segment: Any, sequence: Any, state: Any, captured: Any) -> tuple[Any, Any]:
        return fold_by_schedule(segment, sequence, state, captured, self.schedule)


@law("every backend gives the same")
def check_backends(cell: Any, case: Case) -> None:
    """Outputs, final state and all gradients are those of the reference loop, on every path that can run the cell."""
    state = start(cell, case)
    ends, resets = {"lengths": case.lengths}, {"reset": case.reset}
    everything = {**ends, **resets, "reverse": True, "backprop": Truncated(case.cut)}
    able = [backend for backend in BACKENDS if backend != "loop" and _can_run(cell, case.inputs, state, backend)]
    for options in ({}, ends, resets, everything):
        reference = _scanned(cell, case, state, **options, backend="loop")
        for backend in able:
            found = _scanned(cell, case, state, **options, backend=backend)
            assert_same(f"backend {backend}, with {', '.join(options) or 'no options'}", found, reference)


def _can_run(cell: Any, inputs: Tensor, state: Any, backend: str) -> bool:
    try:
        choose_path(cell, inputs, state, backend)
    except EngineError:
        return False
    return True
