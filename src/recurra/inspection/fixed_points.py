"""Fixed points of a map: where a network stays once it is there, and whether it comes back when it is pushed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.errors import ShapeError
from recurra.inspection.jacobian import BareStep, StateMap, spectral_radius
from recurra.state import map_leaves

__all__ = ["SAME", "FixedPoint", "distinct", "find_fixed_points", "judge", "settle"]

STILL = {torch.float64: 1e-10, torch.float32: 1e-5}
"""A point is fixed whose step is shorter, as a share of 1 + the length of the state that the search began from."""
SAME = 1e-4
"""Points this close, as a share of 1 + |s|, are one."""
MOST_STEPS, HALVINGS, PATIENCE = 60, 8, 10
KRYLOV, FIRST, LATER, FORCING = 128, 6, 1.4, 1e-3
"""Directions of a solution at most; after how many it is looked at first, and how much later again; the share of the
residual that may remain."""
OVERHEAD = 6000
"""Numbers whose product takes as long as the calls of a single product."""
LESS = 1e-4
"""Share of a step's length by which it must shorten the residual, to be taken (Armijo)."""


@dataclass(frozen=True)
class FixedPoint:
    """A state that the step leaves where it is.

    Args:
        state: all numbers of it.
        speed: |f(s) - s|, what is left of it.
        stable: whether all eigenvalues of the Jacobian lie inside the unit circle.
        largest_eigenvalue: their largest modulus.
        input: what was held at the input.
    """

    state: list[float]
    speed: float
    stable: bool
    largest_eigenvalue: float
    input: str


def find_fixed_points(
    step: Callable[[Tensor], Tensor], starts: Tensor, *, most: int = 100, input: str = "no input"
) -> list[FixedPoint]:
    """Find the fixed points that can be reached from given states.

    From each, |f(s) - s| is minimised by Newton's method with a line search. What ends above 1e-10, a slow point, is no
    fixed point and is left out, as is one "at infinity", where the next step would still be long. What ends in the same
    place counts once.

    Args:
        step: a differentiable map of states (B, S) -> (B, S), row by row.
        starts: (M, S); a region whose points are to be found all should be strewn with some dozens.
        most: to return, those first reached.
    Returns: stable ones first.
    Raises: ShapeError for starts that are no (M, S); EngineError if torch cannot differentiate the step.
    Source: Sussillo & Barak 2013.
    """
    if starts.ndim != 2 or not starts.numel():
        raise ShapeError(f"starts must be states (M, S), one at least, not {tuple(starts.shape)}")
    x = torch.zeros(1, 1)
    with torch.random.fork_rng(devices=[]):
        mapped = StateMap(BareStep(lambda _, state: (state, step(state)), starts), x)
        ends, fixed = settle(mapped, x.expand(len(starts), 1), mapped.flatten(starts))
        return judge(mapped, x, distinct(ends[fixed])[:most], input)


def distinct(states: Tensor) -> Tensor:
    """Return the states (M, N) without those that are within 1e-4 of an earlier one, as a share of 1 + |s|."""
    kept: list[Tensor] = []
    for state in states:
        near = SAME * (1 + float(state.norm()))
        if not kept or float((torch.stack(kept) - state).norm(dim=1).min()) > near:
            kept.append(state)
    return torch.stack(kept) if kept else states[:0]


def judge(step: StateMap, x: Any, points: Tensor, input: str) -> list[FixedPoint]:
    """Describe fixed points (M, N) of a map at an input of one row."""
    found = []
    for point in points.unsqueeze(1):
        with torch.no_grad():
            speed = float((step(x, point) - point).norm())
        (jacobian,) = step.jacobian(x, point)
        radius = spectral_radius(jacobian)
        found.append(FixedPoint(point[0].tolist(), speed, radius < 1, radius, input))
    return sorted(found, key=lambda point: point.largest_eigenvalue)


@torch.no_grad()
def settle(step: StateMap, x: Any, states: Tensor, *, work: float = math.inf) -> tuple[Tensor, Tensor]:
    """Move states (M, N) to fixed points at their inputs, x of M rows, by an inexact Newton method.

        (I - J) d = f(s) - s,    s ← s + 2^{-k} d

    with the smallest k that shortens the residual. The equation is solved in the Krylov space of J, so that no Jacobian
    is ever computed: for a network with a thousand numbers of state that is a hundred times cheaper.

    Args:
        work: numbers of states to multiply by Jacobians, in all; what is not there by then counts as no fixed point.
    Returns: (states (M, N), which of them are fixed points, (M,) bool).
    Source: Dembo, Eisenstat & Steihaug 1982; GMRES Saad & Schultz 1986.
    """
    states, going = states.clone(), torch.arange(len(states))
    limits = STILL[step.dtype] * (1 + states.norm(dim=1))
    residual = _residual(step, x, states)
    earlier = residual.norm(dim=1)
    for n in range(MOST_STEPS):
        norms = residual.norm(dim=1)
        if n and n % PATIENCE == 0:  # what has not come twice as near by now hangs at a slow point
            going, earlier = going[norms[going] < earlier[going] / 2], norms
        going = going[(norms[going] > limits[going] / 10) & torch.isfinite(norms[going])]
        if not len(going) or work <= 0:
            break
        inputs = _take(x, going)
        direction, pushes = _solve(step, inputs, states[going], residual[going])
        work -= pushes * (direction.numel() + OVERHEAD)
        moved = torch.zeros(len(going), dtype=torch.bool)
        for k in range(HALVINGS):
            trying = going[~moved]
            trial = states[trying] + 0.5**k * direction[~moved]
            left = _residual(step, _take(x, trying), trial)
            better = left.norm(dim=1) < (1 - LESS * 0.5**k) * norms[trying]
            states[trying[better]], residual[trying[better]] = trial[better], left[better]
            moved[(~moved).nonzero().flatten()[better]] = True
            if moved.all():
                break
        going = going[moved]
    fixed = residual.norm(dim=1) <= limits
    still = fixed.nonzero().flatten()
    if len(still):
        ahead, _ = _solve(step, _take(x, still), states[still], residual[still])
        fixed[still] = ahead.norm(dim=1) <= SAME * (1 + states[still].norm(dim=1))
    return states, fixed


def _solve(step: StateMap, x: Any, states: Tensor, residual: Tensor) -> tuple[Tensor, int]:
    """Solve (I - J) d = residual for each row, in the least squares of a growing Krylov space.

    Returns: (d (M, N), how many directions were multiplied by J).
    """
    rows, size = states.shape
    length = residual.norm(dim=1, keepdim=True).clamp(min=torch.finfo(states.dtype).tiny)
    most = min(KRYLOV, size)
    basis = states.new_zeros(rows, most + 1, size)
    basis[:, 0] = residual / length
    coefficients, wanted = states.new_zeros(rows, most + 1, most), states.new_zeros(rows, most + 1, 1)
    wanted[:, 0] = length
    look = min(FIRST, most)
    for n in range(most):
        known, newest = basis[:, : n + 1], basis[:, n : n + 1]
        new = newest - step.push(x, states, newest)[1]
        before = new.norm(dim=2)
        for _ in range(2):  # once is not enough in floating numbers
            shares = new @ known.mT
            new = new - shares @ known
            coefficients[:, : n + 1, n] += shares[:, 0]
        after = new.norm(dim=2)
        # nothing is left where the space is exhausted, and a zero direction adds nothing
        after = torch.where(after <= 10 * torch.finfo(states.dtype).eps * before, 0, after)
        coefficients[:, n + 1, n] = after[:, 0]
        basis[:, n + 1] = torch.where(after > 0, new[:, 0] / after, 0)
        if n + 1 == look:
            system, goal = coefficients[:, : n + 2, : n + 1], wanted[:, : n + 2]
            solution = torch.linalg.lstsq(system, goal, driver="gelsy").solution
            left = (system @ solution - goal).norm(dim=1)
            if look == most or (left <= FORCING * length).all():
                break
            look = min(most, round(LATER * look))
    return (solution.mT @ basis[:, : n + 1]).squeeze(1), n + 1


def _residual(step: StateMap, x: Any, states: Tensor) -> Tensor:
    following: Tensor = step(x, states)
    return following - states


def _take(x: Any, rows: Tensor) -> Any:
    return map_leaves(lambda leaf: leaf[rows], x)
