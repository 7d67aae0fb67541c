"""Lyapunov exponents: how fast nearby states part from each other, or meet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.errors import ConfigError, DivergedError
from recurra.inspection.jacobian import BareStep, StateMap, at_step
from recurra.state import batch_size, named_leaves

__all__ = ["LOWEST", "Lyapunov", "exponents_of", "growth_rates", "lyapunov_exponents"]

WARMUP, STEPS = 100, 1000
BATCHES = 16
"""Least number of batches that a mean is taken of, for its standard error."""
LOWEST = math.log(torch.finfo(torch.float64).tiny)
"""In nats per step: where a direction is lost in a single step, the exponent is -∞, and this stands for it."""


@dataclass(frozen=True)
class Lyapunov:
    """Lyapunov exponents of a map, or of a network along its inputs.

    Args:
        exponents: nats per step, largest first. Above 0 the smallest difference of two states grows (chaos; gradients
            explode), below 0 it fades.
        errors: their standard errors, by batch means.
        steps: that were measured, of all rows together.
    """

    exponents: list[float]
    errors: list[float]
    steps: int


def lyapunov_exponents(
    cell: Any,
    inputs: Any = None,
    state: Any = None,
    *,
    count: int = 8,
    steps: int | None = None,
    warmup: int = WARMUP,
) -> Lyapunov:
    """Measure the largest Lyapunov exponents of a step.

        Q_t R_t = J_t Q_{t-1},    λ_i = mean over t of log |R_t[i, i]|

    with J_t the Jacobian of the step at the state, and input, of time t.

    Args:
        cell: with ``step`` and ``zero_state``, or the step alone, ``(x, state) -> (output, state)``, given a state.
        inputs: (T, B, I) to read, or a tree of such; None for zeros, of one feature if the cell tells no `input_size`.
        state: of B rows to start from; default ``zero_state``. Rows are measured side by side, and are one mean.
        count: exponents, no more than there are numbers in the state.
        steps: to measure; default all inputs that there are after the warm-up, or 1000.
        warmup: steps before, in which state and directions settle.
    Raises: ConfigError for counts that do not fit; EngineError if torch cannot differentiate the step; DivergedError if
        the state leaves the floating numbers before anything was measured.
    Source: Benettin, Galgani, Giorgilli & Strelcyn 1980; along inputs Vogt et al. 2022, Engelken et al. 2023.
    """
    if not hasattr(cell, "step"):
        if state is None:
            raise ConfigError("a bare step has no state to start from; give one")
        cell = BareStep(cell, state)
    if inputs is None:
        rows = 1 if state is None else batch_size(state) or 1
        steps = STEPS if steps is None else steps
        size = getattr(cell, "input_size", None)
        inputs = torch.zeros(1, rows, size if isinstance(size, int) else 1).expand(max(1, warmup + steps), -1, -1)
    length, rows = next(iter(named_leaves(inputs).values())).shape[:2]
    steps = length - warmup if steps is None else steps
    if steps < 1 or warmup < 0 or count < 1 or length < warmup + steps:
        raise ConfigError(
            f"cannot measure {count} exponents over {steps} steps after {warmup}; there are {length} inputs, and at "
            f"least one of each is needed"
        )
    step = StateMap(cell, at_step(inputs, 0))
    flat = step.fresh(rows) if state is None else step.flatten(state).detach()
    return exponents_of(step, inputs, flat, count=count, steps=steps, warmup=warmup)


def exponents_of(step: StateMap, inputs: Any, flat: Tensor, *, count: int, steps: int, warmup: int) -> Lyapunov:
    """Measure as `lyapunov_exponents`, from flat states (B, N) of a map."""
    logs = growth_rates(step, inputs, flat, count=count, steps=steps, warmup=warmup)
    means, errors = _batch_means(logs)
    order = means.argsort(descending=True)
    return Lyapunov(means[order].tolist(), errors[order].tolist(), logs.shape[0] * logs.shape[1])


@torch.no_grad()
def growth_rates(step: StateMap, inputs: Any, flat: Tensor, *, count: int, steps: int, warmup: int) -> Tensor:
    """Return log |R_t[i, i]| at each step of each row, (T, B, K): T is less where a state overflows.

    Raises: DivergedError if T is 0.
    """
    rows, size = flat.shape
    generator = torch.Generator().manual_seed(0)
    frame = torch.randn(rows, size, min(count, size), generator=generator, dtype=step.dtype)
    frame = torch.linalg.qr(frame).Q
    logs: list[Tensor] = []
    for t in range(warmup + steps):
        flat, moved = step.push(at_step(inputs, t), flat, frame.mT)
        if not (torch.isfinite(flat).all() and torch.isfinite(moved).all()):
            break
        frame, growth = torch.linalg.qr(moved.mT)
        if t >= warmup:
            logs.append(growth.diagonal(dim1=1, dim2=2).abs().log().clamp(min=LOWEST))
    if not logs:
        raise DivergedError(f"the state of {step.name} is no finite number after {t} steps; it has no exponents")
    return torch.stack(logs).double()


def _batch_means(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means (K,) of values (T, B, K) and their standard errors, from means over stretches of each row."""
    steps, rows, count = values.shape
    stretches = min(steps, max(1, math.ceil(BATCHES / rows)))
    means = torch.stack([piece.mean(0) for piece in values.tensor_split(stretches)]).reshape(-1, count)
    if len(means) < 2:
        return values.mean((0, 1)), torch.zeros(count, dtype=values.dtype)
    return values.mean((0, 1)), means.std(0) / len(means) ** 0.5
