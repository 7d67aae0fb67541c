"""A small cell whose step is a function, and what it means that its compiled loop is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recurra.engine import explain, scan
from recurra.testing.compare import assert_same, gradients

SIZE, ROWS, STEPS = 6, 3, 4


class Small(nn.Module):
    """Calls ``step(self, a, h)`` with a = x + p ⊙ h; its result is the state, or (output, state).

    A product with U there would be in every program, and most of the time to compile it.
    """

    def __init__(self, step: Callable[..., Any], dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.input_size = SIZE
        self.U = nn.Parameter(torch.randn(SIZE, SIZE, dtype=dtype) / 3)
        self.D = nn.Parameter(torch.randn(2, SIZE // 2, SIZE // 2, dtype=dtype) / 3)
        self.p = nn.Parameter(torch.rand(SIZE, dtype=dtype) + 0.2)
        self.s = nn.Parameter(torch.tensor(0.7, dtype=dtype))
        self.modules_of_torch = nn.ModuleDict(
            {
                "linear": nn.Linear(SIZE, SIZE, dtype=dtype),
                "norm": nn.LayerNorm(SIZE, dtype=dtype),
                "rms": nn.RMSNorm(SIZE, dtype=dtype),
                "gelu": nn.GELU(),
                "prelu": nn.PReLU(dtype=dtype),
            }
        )
        self.function = step

    def __getitem__(self, name: str) -> nn.Module:
        return self.modules_of_torch[name]

    def zero_state(self, batch: int) -> Tensor:
        return self.p.new_zeros(batch, SIZE)

    def step(self, x: Tensor, h: Tensor) -> tuple[Any, Any]:
        result = self.function(self, x + h * self.p, h)
        return result if isinstance(result, tuple) else (result, result)


def compare(cell: Small, x: Tensor | None = None) -> None:
    """Check that a cell is compiled and equals the loop in outputs, final state and all gradients."""
    x = torch.randn(STEPS, ROWS, SIZE, dtype=torch.float64) if x is None else x
    explanation = explain(cell, x)
    assert explanation.path == "llvm", explanation.reason
    for state in (cell.zero_state(x.shape[1]), torch.rand(x.shape[1], SIZE, dtype=torch.float64)):
        loop, compiled = (
            gradients(cell, lambda x, s, b=backend: scan(cell, x, s, backend=b), x, state)
            for backend in ("loop", "llvm")
        )
        assert_same("compiled", compiled, loop)


def reason(step: Callable[..., Any]) -> str:
    """Return why a step runs on the loop; check that it does run there."""
    cell = Small(step)
    explanation = explain(cell)
    assert explanation.path == "loop"
    outputs, _ = scan(cell, torch.randn(STEPS, ROWS, SIZE, dtype=torch.float64))
    assert outputs.shape[:2] == (STEPS, ROWS)
    return explanation.reason


@pytest.fixture
def agrees() -> Callable[..., None]:
    return lambda step, inputs=None: compare(Small(step), inputs)


@pytest.fixture
def compare_cell() -> Callable[..., None]:
    return compare


@pytest.fixture
def why_not() -> Callable[..., str]:
    return reason


@pytest.fixture
def small_cell() -> type[Small]:
    return Small
