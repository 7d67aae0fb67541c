"""Steps of any cell as one native call: results of the step itself, and nothing stale."""

import copy

import pytest
import torch
from torch import nn

from recurra.cells import CELLS, GRU, LSTM, make_cell
from recurra.engine.llvm.compiler import compile_graph
from recurra.engine.llvm.target import TARGETS
from recurra.engine.stepper import CellStepper
from recurra.layers import Stack, Zoneout
from recurra.state import map_leaves, named_leaves
from recurra.testing.tolerances import TOLERANCES

I, H = 5, 19


def close(found, wanted):
    for (name, leaf), other in zip(named_leaves(found).items(), named_leaves(wanted).values(), strict=True):
        torch.testing.assert_close(
            leaf, other, **TOLERANCES[other.dtype], msg=lambda text, name=name: f"{name}: {text}"
        )


def check(cell, *rows, dtype=torch.float32):
    """A step natively is the step, and its results have the same types."""
    stepper = CellStepper(cell)
    with torch.no_grad():
        for count in rows:
            state = map_leaves(torch.rand_like, cell.zero_state(count))
            for _ in range(2):
                x = torch.randn(count, I, dtype=dtype)
                found, wanted = stepper(x, state), cell.step(x, state)
                assert found is not None, stepper.reason
                close(found, wanted)
                state = found[1]
    return stepper


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_of_the_box(name):
    torch.manual_seed(0)
    check(make_cell(name, I, H), 1, 2, 7)


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm-layernorm", "slstm"])
def test_float64(name):
    check(make_cell(name, I, H).double(), 1, 3, dtype=torch.float64)


def test_a_stack_with_residuals_and_zoneout():
    check(Stack([LSTM(I, H), Zoneout(GRU(H, H), 0.2), make_cell("lstm-mogrifier", H, H)], residual=True), 1, 4)


def test_changes_of_weights_attributes_and_modules():
    stack = Stack([LSTM(I, I), LSTM(I, I)])
    stepper = check(stack, 1)
    x, state = torch.randn(1, I), map_leaves(torch.rand_like, stack.zero_state(1))

    def same():
        for _ in range(3):
            found = stepper(x, state)
            if found is not None:
                close(found, stack.step(x, state))
        assert found is not None, stepper.reason

    with torch.no_grad():
        stack.cells[0].weight_hh_l0.data.mul_(2.0)
        same()
        stack.cells[1].bias_ih_l0 = nn.Parameter(torch.ones(4 * I))
        same()
        stack.residual = True
        same()
        stack.cells[1] = LSTM(I, I)
        same()
        stack.cells[1] = make_cell("lstm-coupled", I, I)
        same()


def test_computed_parameters_are_computed_anew():
    cell = make_cell("rglru", I, H)
    stepper = check(cell, 1)
    x, state = torch.randn(1, I), map_leaves(torch.rand_like, cell.zero_state(1))
    with torch.no_grad():
        for parameter in cell.parameters():
            before = stepper(x, state)
            parameter.data.add_(0.3)
            close(stepper(x, state), cell.step(x, state))
            assert any(
                not torch.equal(a, b)
                for a, b in zip(named_leaves(before).values(), named_leaves(stepper(x, state)).values(), strict=True)
            )


def test_what_is_refused():
    cell = LSTM(I, H)
    stepper = check(cell, 1)
    state = cell.zero_state(1)
    x = torch.randn(1, I)
    assert stepper(x, state) is None  # gradients are recorded
    with torch.no_grad():
        assert stepper(x.double(), state) is None
        assert stepper(x, tuple(state)) is None
        assert stepper(x, cell.zero_state(2)) is None
        assert stepper(torch.randn(1, I + 1), state) is None
        assert stepper(torch.randn(100, I), cell.zero_state(100)) is None


class Draws(GRU):
    def step(self, x, state):
        h, state = super().step(x, state)
        return torch.dropout(h, 0.5, True), state


def test_a_step_that_draws_is_not_taken():
    cell = Draws(I, H)
    stepper = CellStepper(cell)
    with torch.no_grad():
        assert stepper(torch.randn(1, I), cell.zero_state(1)) is None
    assert "random" in stepper.reason


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["gru", "lstm-layernorm"])
def test_code_for_every_target(name, target):
    stepper = check(make_cell(name, I, H), 1)
    if target == "neon":
        pytest.skip("another processor's code is not emitted here")
    compile_graph(stepper._step.split.inside, "float32", direct=True, target=TARGETS[target])


def test_a_copied_state_stays_as_it_was():
    cell = LSTM(I, H)
    stepper = check(cell, 1)
    with torch.no_grad():
        state = cell.zero_state(1)
        _, first = stepper(torch.randn(1, I), state)
        kept = copy.deepcopy(first)
        stepper(torch.randn(1, I), first)
        close(first, kept)
