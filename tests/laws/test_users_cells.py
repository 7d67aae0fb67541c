"""Users' cells: those that keep the laws pass, and one that breaks a law is found out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn, tanh

from recurra.testing import LAWS, check_cell
from recurra.testing import gradient_laws as g
from recurra.testing import value_laws as v


class Plain(nn.Module):
    """A user's cell that keeps every law: a plain module with a bare tensor for a state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.W = nn.Linear(input_size, hidden_size)
        self.U = nn.Linear(hidden_size, hidden_size, bias=False)

    def zero_state(self, batch: int) -> Any:
        return self.W.weight.new_zeros(batch, self.hidden_size)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = tanh(self.W(x) + self.U(state))
        return h, h


class Counting(Plain):
    """Keeps every law: a tuple of a tensor and a number of steps, which has no gradient; starts from learned values."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.first = nn.Parameter(torch.linspace(-1, 1, hidden_size))

    def zero_state(self, batch: int) -> Any:
        return self.first.expand(batch, -1), torch.zeros(batch, dtype=torch.int64)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, n = state
        h = tanh(self.W(x) + self.U(h) / (1 + n).unsqueeze(1))
        return h, (h, n + 1)


class TupleBecomesTensor(Plain):
    def zero_state(self, batch: int) -> Any:
        return (super().zero_state(batch),)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return super().step(x, state[0] if isinstance(state, tuple) else state)


class WidensState(Plain):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, _ = super().step(x, state.to(x.dtype))
        return h, h.double() if h.dtype is torch.float32 else h.float()


class WritesIntoState(Plain):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = tanh(self.W(x) + self.U(state))
        state.data.copy_(h)
        return h, h


class WritesIntoInput(Plain):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, state = super().step(x, state)
        x.data.clamp_(-1, 1)
        return h, state


class KeepsState(Plain):
    """The state lives on the module."""

    kept: Any = None

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        kept = state if self.kept is None or self.kept.shape != state.shape else self.kept
        h, state = super().step(x, kept)
        self.kept = h.detach()
        return h, state


class HidesMemory(Plain):
    """Part of the memory travels outside of the tensors, so a copied or saved state loses it."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        memory = getattr(state, "memory", torch.zeros_like(state))
        h, state = super().step(x, state + memory)
        state.memory = (memory + h.detach()) / 2
        return h, state


class MixesRows(Plain):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return super().step(x, state - state.mean(0, keepdim=True))


class AsksWholeBatch(Plain):
    """Whether a row is fresh is asked of the batch, so a fresh row beside a warm one goes wrong."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = tanh(self.W(x)) if (state == 0).all() else tanh(self.W(x) + self.U(state) + 1)
        return h, h


class BatchSecond(Plain):
    """A state of (1, B, H), as torch.nn's modules have it."""

    def zero_state(self, batch: int) -> Any:
        return super().zero_state(batch).unsqueeze(0)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, state = super().step(x, state.squeeze(0))
        return h, state.unsqueeze(0)


class FreshByBatchSize(Plain):
    """What a fresh row starts from depends on how many there are."""

    def zero_state(self, batch: int) -> Any:
        return super().zero_state(batch) + 1 / batch


class DetachesState(Plain):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return super().step(x, state.detach())


class DetachesFinalState(Plain):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, state = super().step(x, state)
        return h, state.detach()


class WrongBackward(Plain):
    """A hand-written derivative with a slip in it."""

    class Tanh(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Tensor) -> Tensor:
            ctx.save_for_backward(a.tanh())
            return a.tanh()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (h,) = ctx.saved_tensors
            return grad * (1 - h)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = self.Tanh.apply(self.W(x) + self.U(state))
        return h, h


class RemembersGraph(Plain):
    """Swaps a detached state for the attached one it came from, so that truncation does not cut."""

    last: Any = None

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.last is not None and torch.equal(self.last, state):
            state = self.last
        h, state = super().step(x, state)
        self.last = h if h.requires_grad else None
        return h, state


class LooksAtTheMode(Plain):
    """Computes something else where no gradients are recorded, as a first pass over steps that are recomputed does."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return super().step(x, state if torch.is_grad_enabled() else 0.9 * state)


class ChangesItsMind(Plain):
    """Every second call computes something else."""

    calls = 0

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.calls += 1
        return super().step(x, state + 0.1 * (self.calls % 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", [Plain, Counting])
def test_plain_module_keeps_every_law(cell, dtype):
    check_cell(cell, input_size=2, examples=5, dtype=dtype)


BROKEN = [
    (TupleBecomesTensor, v.check_state_type),
    (WidensState, v.check_state_type),
    (BatchSecond, v.check_state_type),
    (WritesIntoState, v.check_inputs_intact),
    (WritesIntoInput, v.check_inputs_intact),
    (KeepsState, g.check_fold),
    (HidesMemory, g.check_chunking),
    (HidesMemory, v.check_save_and_load),
    (MixesRows, v.check_rows),
    (AsksWholeBatch, v.check_rows),
    (MixesRows, v.check_padding),
    (BatchSecond, v.check_padding),
    (FreshByBatchSize, v.check_reset),
    (ChangesItsMind, v.check_reverse),
    (DetachesState, g.check_gradients),
    (DetachesFinalState, g.check_gradients),
    (WrongBackward, g.check_gradients),
    (RemembersGraph, g.check_truncation),
    (LooksAtTheMode, g.check_recomputation),
    (ChangesItsMind, g.check_backends),
]


def test_every_law_has_a_cell_that_breaks_it():
    assert {law for _, law in BROKEN} == set(LAWS)


@pytest.mark.parametrize(("cell", "law"), BROKEN, ids=lambda value: value.__name__)
def test_broken_cell_is_found_out(cell, law):
    with pytest.raises(AssertionError, match=f"{cell.__name__} breaks the law '") as by_law:
        check_cell(cell, input_size=3, dtype=torch.float32, laws=[law])
    assert by_law.value.__cause__ is not None
    with pytest.raises(AssertionError, match=f"{cell.__name__} breaks the law '"):
        check_cell(cell, input_size=3, dtype=torch.float32)
