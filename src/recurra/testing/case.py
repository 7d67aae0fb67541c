"""What a law is, and the situation in which it is checked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.state import fork
from recurra.state import reset as reset_rows

__all__ = ["Case", "Law", "fold", "law", "make_case", "start"]


@dataclass(frozen=True)
class Case:
    """Inputs with a past: some rows are warm, they have lived through `history`; the others are fresh.

    Args:
        history: (K, B, I) inputs before the first step, K >= 1.
        warm: (B,) bool, the rows that saw them.
        inputs: (T, B, I), T >= 1.
        lengths: (B,) int64, 0 to T.
        reset: (T, B) bool.
        cut: where time is cut in two, 1 to T; also the length of a truncation window.
    """

    history: Tensor
    warm: Tensor
    inputs: Tensor
    lengths: Tensor
    reset: Tensor
    cut: int


def make_case(steps: int, rows: int, input_size: int, cut: int, seed: int, dtype: torch.dtype) -> Case:
    """Draw the numbers of a case; the same arguments give the same case."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    def chance(probability: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) < probability

    return Case(
        history=normal(2, rows, input_size),
        warm=chance(0.5, rows),
        inputs=normal(steps, rows, input_size),
        lengths=torch.randint(0, steps + 1, (rows,), generator=generator),
        reset=chance(0.3, steps, rows),
        cut=cut,
    )


def fold(cell: Any, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Call ``cell.step`` once per time step, no more than that."""
    outputs = []
    for x in inputs:
        output, state = cell.step(x, state)
        outputs.append(output)
    return torch.stack(outputs), state


def start(cell: Any, case: Case) -> Any:
    """Return the state before the first step of a case: warm and fresh rows, side by side."""
    fresh = cell.zero_state(case.inputs.shape[1])
    with torch.no_grad():
        _, past = fold(cell, case.history, fresh)
        return fork(reset_rows(past, ~case.warm, fresh))


Law = Callable[[Any, Case], None]


def law(statement: str) -> Callable[[Law], Law]:
    """Make a check a law: any failure becomes an AssertionError that names it."""

    def decorate(check: Law) -> Law:
        @functools.wraps(check)
        def checked(cell: Any, case: Case) -> None:
            try:
                check(cell, case)
            except Exception as error:
                message = f"{type(cell).__name__} breaks the law '{statement}': {error}"
                raise AssertionError(message) from error

        return checked

    return decorate
