"""Online learning: exact gradients of a layer whose units remember themselves alone, without a history."""

from __future__ import annotations

import pytest
import torch
from differences import gradients, relative
from torch import nn

from recurra.cells import CELLS, RGLRU, IndRNN, MinGRU, make_cell
from recurra.engine import Full, Influenced, Online, scan
from recurra.engine.policies.online import PIECE
from recurra.errors import BackpropError
from recurra.layers import Stack, Zoneout
from recurra.state import detach, named_leaves

DIAGONAL = ["indrnn", "mingru", "minlstm", "rglru", "sru"]
SAME = 1e-9


def some(name, steps, rows=2, size=6):
    torch.manual_seed(0)
    return make_cell(name, size, size).double(), torch.randn(steps, rows, size, dtype=torch.float64)


@pytest.mark.parametrize("name", DIAGONAL)
def test_it_equals_full_over_a_thousand_steps(name):
    cell, x = some(name, 1000)
    found, full = gradients(cell, x, Online()), gradients(cell, x, Full())
    assert relative(found, full, without=("inputs",)) < SAME


@pytest.mark.parametrize("name", DIAGONAL)
@pytest.mark.parametrize("backend", ["loop", "llvm"])
def test_ends_and_resets(name, backend):
    cell, x = some(name, 90, rows=3)
    options = {"lengths": torch.tensor([90, 40, 0]), "reset": torch.rand(90, 3) < 0.02, "backend": backend}
    found, full = (gradients(cell, x, policy, **options) for policy in (Online(), Full()))
    assert relative(found, full, without=("inputs",)) < SAME


@pytest.mark.parametrize("name", DIAGONAL)
def test_influence_handed_on_is_exact_across_scans(name):
    """Losses of many scans, each differentiated at once and forgotten, add up to the gradient of one long scan."""
    cell, x = some(name, 150)
    outputs, _ = scan(cell, x)
    full = torch.autograd.grad(outputs.square().sum(), list(cell.parameters()))
    total, state = [torch.zeros_like(p) for p in cell.parameters()], None
    for start in range(0, 150, 40):
        outputs, state = scan(cell, x[start : start + 40], state, backprop=Online())
        found = torch.autograd.grad(outputs.square().sum(), list(cell.parameters()))
        total = [a + b for a, b in zip(total, found, strict=True)]
        state = detach(state)
        assert isinstance(state, Influenced)
    for a, b in zip(total, full, strict=True):
        assert (a - b).norm() <= SAME * b.norm()


class Rotating(nn.Module):
    """Two leaves that turn into each other, unit by unit: a complex number in two parts."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.angle = nn.Parameter(torch.randn(size, dtype=torch.float64))
        self.W = nn.Parameter(torch.randn(size, size, dtype=torch.float64))

    def step(self, x, state):
        real, imaginary = state
        c, s = 0.99 * torch.cos(self.angle), 0.99 * torch.sin(self.angle)
        state = (c * real - s * imaginary + x @ self.W.T, s * real + c * imaginary)
        return state[0] + state[1], state

    def zero_state(self, batch):
        return (self.W.new_zeros(batch, self.size, requires_grad=False),) * 2


def test_a_cell_of_ones_own_with_several_leaves():
    torch.manual_seed(0)
    cell, x = Rotating(4), torch.randn(200, 2, 4, dtype=torch.float64)
    assert relative(gradients(cell, x, Online()), gradients(cell, x, Full()), without=("inputs",)) < SAME


def test_zoneout_keeps_units_apart():
    torch.manual_seed(0)
    cell, x = Zoneout(MinGRU(4, 4), 0.2).double(), torch.randn(70, 2, 4, dtype=torch.float64)
    inputs = cell.draw(x)
    found = [
        torch.autograd.grad(scan(cell, inputs, backprop=policy)[0].square().sum(), list(cell.parameters()))
        for policy in (Online(), Full())
    ]
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= SAME * b.norm()


def test_gradients_of_inputs_are_those_of_a_piece():
    cell, x = some("mingru", PIECE)
    assert relative(gradients(cell, x, Online()), gradients(cell, x, Full())) < SAME


@pytest.mark.parametrize("name", sorted(set(CELLS) - set(DIAGONAL)))
def test_other_cells_are_refused_by_name(name):
    cell, x = some(name, 3)
    with pytest.raises(BackpropError, match=f"{type(cell).__name__} is none: .* Take indrnn"):
        scan(cell, x, backprop=Online())


def test_parameters_that_act_on_several_units_are_refused_by_name():
    cell = RGLRU(3, 6)
    with pytest.raises(BackpropError, match="weight_xh_l0 acts on several"):
        scan(cell, torch.randn(4, 1, 3), backprop=Online())


def test_stacks_and_dropped_weights_are_refused():
    stack = Stack([IndRNN(3, 3), IndRNN(3, 3)])
    with pytest.raises(BackpropError, match="exact for one recurrent layer, and this stack has 2"):
        stack(torch.randn(4, 1, 3), backprop=Online())
    dropped = Stack([IndRNN(3, 3)], weight_drop=0.5)
    with pytest.raises(BackpropError, match="without weight drop"):
        dropped(torch.randn(4, 1, 3), backprop=Online())


def test_without_gradients_a_plain_state_stays_plain():
    cell, x = some("sru", 5)
    with torch.no_grad():
        _, state = scan(cell, x, backprop=Online())
    assert not isinstance(state, Influenced)


def test_a_state_is_its_leaves_batch_first():
    cell, x = some("mingru", 5, rows=3)
    _, state = scan(cell, x, backprop=Online())
    assert all(len(leaf) == 3 and not leaf.requires_grad for leaf in named_leaves(state.influence).values())
    start = Online().start(cell, cell.zero_state(3))
    assert named_leaves(start).keys() == named_leaves(state).keys()


class Mixing(nn.Module):
    """Units that mix as far as there is an input; or draw; or read a tensor that is no parameter."""

    def __init__(self, noise=0.0, hidden=None):
        super().__init__()
        self.a, self.noise, self.hidden = nn.Parameter(torch.rand(3)), noise, hidden
        self.U = nn.Parameter(torch.randn(3, 3)) if not noise and hidden is None else None

    def step(self, x, h):
        h = self.a * h + x if self.U is None else self.a * h + x * (h @ self.U)
        h = h if self.hidden is None else h * self.hidden
        h = torch.nn.functional.dropout(h, self.noise) if self.noise else h
        return h, h

    def zero_state(self, batch):
        return torch.zeros(batch, 3)


def test_inputs_that_happen_to_be_zero_hide_nothing():
    with pytest.raises(BackpropError, match="Mixing is none"):
        scan(Mixing(), torch.zeros(4, 1, 3), backprop=Online())


def test_steps_that_draw_are_refused():
    with pytest.raises(BackpropError, match="draws random numbers"):
        scan(Mixing(noise=0.5), torch.randn(4, 1, 3), backprop=Online())


def test_tensors_that_are_no_parameters_are_found_out():
    cell = Mixing(hidden=torch.rand(3).requires_grad_())
    outputs, _ = scan(cell, torch.randn(4, 1, 3), backprop=Online(), backend="loop")
    with pytest.raises(BackpropError, match="no parameter of the cell"):
        outputs.sum().backward()


def test_a_state_that_was_not_detached_counts_the_past_once():
    cell, x = some("mingru", 60)
    full = torch.autograd.grad(scan(cell, x)[0].square().sum(), list(cell.parameters()))
    state, loss = None, 0
    for piece in x.split(20):
        outputs, state = scan(cell, piece, state, backprop=Online())
        loss = loss + outputs.square().sum()
    for a, b in zip(torch.autograd.grad(loss, list(cell.parameters())), full, strict=True):
        assert (a - b).norm() <= SAME * b.norm()
