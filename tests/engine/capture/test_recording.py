"""What a recording sees of a step, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from recurra.cells import LSTM
from recurra.engine import scan
from recurra.engine.capture.aten import LOWERINGS
from recurra.engine.capture.recording import Batch, find_tensor, record, replay, tensors_of
from recurra.engine.graphs.graph import CannotCompileError

X = torch.zeros(1, 1, 6, dtype=torch.float64)
aten = torch.ops.aten


def recorded(cell, x=X):
    return record(cell, x, LOWERINGS)


def names(recording):
    return [call.function for call in recording.calls]


def test_a_recording_is_the_step_for_any_number_of_rows(small_cell):
    cell = small_cell(lambda cell, a, h: torch.tanh(a).reshape(a.shape[0], 2, 3).reshape(a.shape[0] * 1, 6))
    recording = recorded(cell)
    assert [recording.shapes[n] for n in (*recording.inputs, *recording.state, recording.output)] == [(-1, 6)] * 3
    assert any(argument == Batch(1) for call in recording.calls for argument in call.args[1:2] for argument in argument)
    x, h = torch.randn(5, 6, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    known = {recording.inputs[0]: x, recording.state[0]: h}
    known.update((n, find_tensor(cell, path)) for n, path in recording.captured.items())
    replay(recording.calls, known, 5)
    torch.testing.assert_close(known[recording.output], cell.step(x, h)[0])


def test_parameters_are_known_by_where_the_cell_keeps_them():
    cell = LSTM(3, 4)
    recording = recorded(cell, torch.zeros(1, 1, 3))
    assert set(recording.captured.values()) <= {path for path, _ in tensors_of(cell)}
    assert all(find_tensor(cell, path) is tensor for path, tensor in tensors_of(cell))


def test_what_depends_on_parameters_alone_is_recorded_as_it_is(small_cell):
    calls = names(recorded(small_cell(lambda cell, a, h: torch.tanh(a @ torch.special.expit(cell.U).logit()))))
    assert aten.logit.default in calls
    assert aten.logit.default not in names(
        recorded(small_cell(lambda cell, a, h: torch.tanh(torch.sigmoid(a).logit())))
    )


def test_in_place_operations_come_out_as_functions(small_cell):
    def step(cell, a, h):
        a[:, :2].mul_(2)
        return a.tanh_() * 1

    assert not any(function._schema.is_mutable for function in names(recorded(small_cell(step))))


def test_constants_written_in_the_step(small_cell):
    recording = recorded(small_cell(lambda cell, a, h: torch.tanh(a) * torch.tensor([0.5] * 6) * torch.tensor(0.3)))
    assert torch.tensor in names(recording)
    assert list(recording.numbers.values()) == [pytest.approx(0.3)]


def test_recording_changes_nothing(small_cell):
    cell = small_cell(lambda cell, a, h: torch.tanh(a))
    before = {name: tensor.clone() for name, tensor in tensors_of(cell)}
    state = torch.random.get_rng_state()
    recorded(cell)
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors_of(cell))
    assert torch.equal(state, torch.random.get_rng_state())


def takes_turns(cell, a, h):
    return torch.tanh(a) if h.sum() > 0 else torch.sigmoid(a)


def branches_on_rows(cell, a, h):
    return torch.tanh(a) if len(a) > 2 else torch.sigmoid(a)


def writes_into_a_parameter(cell, a, h):
    cell.p.data.zero_()
    return torch.tanh(a)


def writes_into_a_buffer(cell, a, h):
    cell.count.add_(1)
    return torch.tanh(a)


def uses_a_stranger(cell, a, h):
    return torch.tanh(a) * STRANGER


STRANGER = torch.ones(6, dtype=torch.float64)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (takes_turns, "reads a tensor's value in Python"),
        (lambda cell, a, h: torch.tanh(a) * h.mean().item(), "reads a tensor's value in Python"),
        (lambda cell, a, h: torch.tanh(a) + torch.rand_like(a), "draws random numbers"),
        (lambda cell, a, h: torch.tanh(a) + torch.randn(6), "draws random numbers"),
        (lambda cell, a, h: torch.tanh(a) * (1 / len(a)), "depends on the number of rows"),
        (branches_on_rows, "other things for another number of rows"),
        (writes_into_a_buffer, "writes into 'count'"),
        (uses_a_stranger, "does not hold as a parameter, buffer or attribute"),
    ],
)
def test_what_is_refused_names_the_line(small_cell, step, said):
    cell = small_cell(step)
    cell.register_buffer("count", torch.zeros(6, dtype=torch.float64))
    with pytest.raises(CannotCompileError, match=said):
        recorded(cell)
    assert not cell.count.any()


class Old(torch.autograd.Function):
    """Written in the way that transformations of torch cannot look into."""

    @staticmethod
    def forward(ctx, a):
        return a.tanh()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


class New(torch.autograd.Function):
    """Written in the way that they can."""

    @staticmethod
    def forward(a):
        return a.tanh()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


@pytest.mark.parametrize("function", [Old, New])
def test_a_derivative_of_its_own(why_not, function):
    assert "the step calls a torch.autograd.Function" in why_not(lambda cell, a, h: function.apply(a))


def without_gradient(cell, a, h):
    with torch.no_grad():
        gate = torch.sigmoid(a)
    return torch.tanh(a) * gate


@pytest.mark.parametrize(
    "step",
    [without_gradient, lambda cell, a, h: torch.tanh(a) + h.data / 2],
    ids=["no_grad", "data"],
)
def test_what_a_recording_does_not_show_is_found_out_by_trial(why_not, small_cell, step):
    assert "another gradient" in why_not(step)
    x = torch.randn(3, 2, 6, dtype=torch.float64)
    with torch.no_grad():  # the values are the same
        torch.testing.assert_close(scan(small_cell(step), x, backend="llvm"), scan(small_cell(step), x, backend="loop"))
