"""Checkpointed back-propagation is full back-propagation, whatever is thrown at it, in the memory that it says."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from differences import gradients, relative
from torch import nn

from recurra.cells import CELLS, GRU, LSTM, Elman
from recurra.engine import Checkpointed, Full, scan, unroll
from recurra.engine.policies.checkpointed import parse_bytes
from recurra.errors import BackpropError
from recurra.layers import Stack
from recurra.state import named_leaves

SAME = {torch.float64: 1e-12, torch.float32: 1e-5}
STEPS, ROWS = 120, 3


def budget_for(cell, x, runs, **options):
    """Return a budget with which every step is run about so many times."""
    state = cell.zero_state(x.shape[1])
    for size in (int(1.2**k) for k in range(30, 140)):
        try:
            plan = Checkpointed(size).plan(
                lambda piece, s: scan(cell, piece, s, **options), x, state, lambda: [*cell.parameters()]
            )
        except BackpropError:
            continue
        if plan.runs <= runs:
            return size
    raise AssertionError("no budget")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("runs", [1.5, 2.0, 4.0])
@pytest.mark.parametrize("backend", ["llvm", "loop", "library"])
@pytest.mark.parametrize("cell_class", [LSTM, GRU])
def test_it_equals_full(cell_class, backend, runs, dtype):
    torch.manual_seed(0)
    cell, x = cell_class(4, 6).to(dtype), torch.randn(STEPS, ROWS, 4, dtype=dtype)
    options = {
        "backend": backend,
        "reset": torch.rand(STEPS, ROWS) < 0.03,
        "lengths": torch.tensor([STEPS, 17, 0]),
        "reverse": runs == 2.0,
    }
    policy = Checkpointed(budget_for(cell, x, runs, backend=backend))
    assert relative(gradients(cell, x, policy, **options), gradients(cell, x, Full(), **options)) < SAME[dtype]


@pytest.mark.parametrize("name", CELLS)
def test_it_equals_full_for_every_cell(name):
    torch.manual_seed(0)
    cell, x = CELLS[name](4, 4).double(), torch.randn(40, 2, 4, dtype=torch.float64)
    policy = Checkpointed(budget_for(cell, x, 2.0))
    assert relative(gradients(cell, x, policy), gradients(cell, x, Full())) < SAME[torch.float64]


def test_inputs_that_need_no_gradient_get_none():
    cell, x = GRU(4, 6), torch.randn(STEPS, 2, 4)
    outputs, _ = scan(cell, x, backprop=Checkpointed(budget_for(cell, x, 2.0)))
    outputs.sum().backward()
    assert x.grad is None
    assert all(parameter.grad is not None for parameter in cell.parameters())


class Noisy(nn.Module):
    """A step that draws random numbers of its own, which the reference loop runs."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.9, dtype=torch.float64))

    def step(self, x, state):
        state = torch.nn.functional.dropout(torch.tanh(self.w * state + x), 0.3)
        return state, state

    def zero_state(self, batch):
        return self.w.new_zeros(batch, 1).detach()


def test_noise_is_drawn_again_and_the_generator_goes_on_as_if_nothing_had_been():
    cell, x = Noisy(), torch.randn(60, 2, 1, dtype=torch.float64)
    results = []
    for policy in (Full(), Checkpointed(budget_for(cell, x, 3.0))):
        torch.manual_seed(1)
        found = gradients(cell, x, policy)
        results.append((found, torch.rand(1)))
    assert relative(results[1][0], results[0][0]) < SAME[torch.float64]
    assert results[0][1] == results[1][1]


def test_zoneout_and_dropped_weights_are_parts_of_what_is_given():
    torch.manual_seed(0)
    stack = Stack([LSTM(4, 5), LSTM(5, 5)], dropout=0.3, weight_drop=0.2, zoneout=0.1).double()
    x = torch.randn(STEPS, 2, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for policy in (Full(), Checkpointed(40_000)):
        torch.manual_seed(2)
        outputs, _ = stack(x, backprop=policy)
        found.append(torch.autograd.grad(outputs.square().sum(), [x, *stack.parameters()]))
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= SAME[torch.float64] * b.norm()


def test_a_second_backward_and_gradients_of_gradients():
    torch.manual_seed(0)
    cell, x = GRU(2, 3).double(), torch.randn(24, 2, 2, dtype=torch.float64, requires_grad=True)
    found = []
    for policy in (Full(), Checkpointed(budget_for(cell, x, 2.5))):
        outputs, _ = scan(cell, x, backprop=policy)
        loss = outputs.square().sum()
        once = torch.autograd.grad(loss, x, retain_graph=True)[0]
        twice = torch.autograd.grad(loss, x, retain_graph=True)[0]
        assert (once - twice).norm() <= SAME[torch.float64] * once.norm()
        slope = torch.autograd.grad(loss, cell.weight_hh_l0, create_graph=True)[0]
        found.append([once, torch.autograd.grad(slope.sum(), x)[0]])
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= SAME[torch.float64] * b.norm()


def test_what_is_not_handed_over_is_found_out():
    hidden = torch.ones(1, requires_grad=True)

    def segment(piece, state):
        for x in piece:
            state = torch.tanh(state * hidden + x)
        return state.sum(), state

    x, start = torch.randn(50, 1), torch.zeros(1, requires_grad=True)
    with pytest.raises(BackpropError, match="no parameter of the cell"):
        unroll(segment, x, start, Checkpointed(200))
    value, _ = unroll(segment, x, start, Checkpointed(200), lambda: [hidden])
    value.backward()
    assert hidden.grad is not None


def test_parameters_modified_in_between_are_found_out():
    cell, x = Elman(2, 3), torch.randn(60, 1, 2)
    outputs, _ = scan(cell, x, backprop=Checkpointed(budget_for(cell, x, 2.0)))
    with torch.no_grad():
        cell.weight_hh_l0.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_without_gradients_nothing_is_planned():
    cell, x = LSTM(2, 3), torch.randn(60, 1, 2)
    with torch.no_grad():
        outputs, _ = scan(cell, x, backprop=Checkpointed(1))
    assert torch.equal(outputs, scan(cell, x)[0].detach())
    with pytest.raises(BackpropError, match="give at least"):
        scan(cell, x, backprop=Checkpointed(1))


def test_memory_is_what_the_plan_says():
    """Bytes that the graph of one segment holds, counted anew, and the states."""
    cell, x = LSTM(8, 16), torch.randn(400, 4, 8)

    def segment(piece, state):
        return scan(cell, piece, state)

    plan = Checkpointed("200KB").plan(segment, x, cell.zero_state(4), lambda: list(cell.parameters()))
    held = {}

    def count(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        results = segment(x[: plan.length], cell.zero_state(4))
    assert sum(held.values()) + plan.states * 2 * 4 * 16 * 4 <= plan.memory_bytes <= 200_000
    assert plan.runs < 2.1
    del results


@pytest.mark.parametrize(
    ("text", "size"), [("64MB", 64 * 10**6), ("1 GiB", 2**30), ("1.5kb", 1500), ("77", 77), (5, 5)]
)
def test_sizes_of_memory(text, size):
    assert parse_bytes(text) == size


def test_sequences_of_tuples_and_values_of_several_kinds():
    w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def segment(piece, state):
        x, y, nothing = piece
        assert nothing is None
        outputs = []
        for a, b in zip(x, y, strict=True):
            state = torch.tanh(w * state + a * b)
            outputs.append(state)
        value = torch.stack(outputs)
        return (value, value.sum()), state

    x, y = (torch.randn(50, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    found = []
    for policy in (Full(), Checkpointed(4000)):
        (series, total), final = unroll(segment, (x, y, None), x.new_zeros(2), policy, lambda: [w])
        loss = (series * torch.arange(50.0).unsqueeze(1)).sum() + total.square() + final.sum()
        found.append([series, total, *torch.autograd.grad(loss, [x, y, w])])
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= SAME[torch.float64] * b.norm()
    assert named_leaves(found[0][0]).keys() == {""}


class Learned(nn.Module):
    """A network whose fresh state is a parameter that its step reads, too."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 3, dtype=torch.float64) / 2)
        self.h0 = nn.Parameter(torch.randn(3, dtype=torch.float64))

    def step(self, x, h):
        h = torch.tanh(h @ self.w.T + x + 0.1 * self.h0)
        return h, h

    def zero_state(self, batch):
        return self.h0.expand(batch, 3)


@pytest.mark.parametrize("reset", [False, True])
def test_a_fresh_state_that_is_learned(reset):
    torch.manual_seed(0)
    cell, x = Learned(), torch.randn(50, 2, 3, dtype=torch.float64)
    options = {"reset": torch.rand(50, 2) < 0.1} if reset else {}
    found = []
    for policy in (Full(), Checkpointed(budget_for(cell, x, 2.5))):
        outputs, _ = scan(cell, x, backprop=policy, **options)
        once = torch.autograd.grad(outputs.square().sum(), [*cell.parameters()], create_graph=True)
        twice = torch.autograd.grad(sum(g.square().sum() for g in once), [*cell.parameters()])
        found.append([*once, *twice])
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= SAME[torch.float64] * b.norm()


def test_a_backward_that_was_interrupted_can_be_asked_again():
    torch.manual_seed(0)
    cell, x = GRU(2, 3).double(), torch.randn(60, 2, 2, dtype=torch.float64, requires_grad=True)
    full = torch.autograd.grad(scan(cell, x)[0].square().sum(), x)[0]
    budget, calls = budget_for(cell, x.detach(), 2.5), []

    class Stops(GRU):
        def step(self, x, state):
            calls.append(None)
            if stop and len(calls) > stop:
                raise KeyboardInterrupt
            return super().step(x, state)

    stop, stopping = 0, Stops(2, 3).double()
    stopping.load_state_dict(cell.state_dict())
    outputs, _ = scan(stopping, x, backprop=Checkpointed(2 * budget), backend="loop")
    stop = len(calls) + 5
    with pytest.raises(KeyboardInterrupt):
        torch.autograd.grad(outputs.square().sum(), x, retain_graph=True)
    stop = 0
    found = torch.autograd.grad(outputs.square().sum(), x)[0]
    assert (found - full).norm() <= SAME[torch.float64] * full.norm()


def test_what_a_scan_kept_goes_with_it():
    cell, x = LSTM(4, 6), torch.randn(60, 2, 4)
    gc.collect()
    gc.disable()
    try:
        outputs, state = scan(cell, x, backprop=Checkpointed(budget_for(cell, x, 2.0)))
        kept = weakref.ref(outputs.grad_fn.run)
        assert kept() is not None
        del outputs, state
        assert kept() is None
    finally:
        gc.enable()
