"""`scan` with ends, resets and reading directions, on every path, and what it refuses."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.cells import GRU, LSTM, Elman, Jordan
from recurra.engine import scan
from recurra.errors import EngineError, ShapeError
from recurra.state import digest, map_leaves
from recurra.testing import TOLERANCES

I, H = 3, 4
KERNELS = [Elman, partial(Elman, nonlinearity="relu"), LSTM, GRU]
NAMES = ["rnn", "rnn-relu", "lstm", "gru"]
DTYPE = torch.float64


def close(found, expected):
    torch.testing.assert_close(found, expected, **TOLERANCES[DTYPE])


def by_rows(cell, inputs, state, lengths, reset, reverse):
    """Every row by itself, every step by hand."""
    outputs, finals = torch.zeros(*inputs.shape[:2], cell.output_size, dtype=inputs.dtype), []
    for row, length in enumerate(lengths):
        at = slice(row, row + 1)
        carried = map_leaves(lambda leaf, at=at: leaf[at], state)
        for t in reversed(range(length)) if reverse else range(length):
            carried = cell.zero_state(1) if reset[t][row] else carried
            outputs[t, at], carried = cell.step(inputs[t, at], carried)
        finals.append(carried)
    return outputs, map_leaves(lambda *leaves: torch.cat(leaves), finals[0], *finals[1:])


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(data=st.data(), steps=st.integers(1, 6), rows=st.integers(1, 4), reverse=st.booleans())
@pytest.mark.parametrize("backend", ["loop", "library", "llvm"])
@pytest.mark.parametrize("make", KERNELS, ids=NAMES)
def test_ends_resets_and_reverse_together(make, backend, data, steps, rows, reverse):
    lengths = data.draw(st.lists(st.integers(0, steps), min_size=rows, max_size=rows))
    reset = data.draw(st.lists(st.lists(st.booleans(), min_size=rows, max_size=rows), min_size=steps, max_size=steps))
    torch.manual_seed(0)
    cell = make(I, H, dtype=DTYPE)
    inputs = torch.randn(steps, rows, I, dtype=DTYPE)
    state = map_leaves(torch.randn_like, cell.zero_state(rows))
    before = digest((inputs, state))
    options = {"lengths": torch.tensor(lengths), "reset": torch.tensor(reset), "reverse": reverse}
    with torch.no_grad():
        found = scan(cell, inputs, state, **options, backend=backend)
        close(found, by_rows(cell, inputs, state, lengths, reset, reverse))
    assert digest((inputs, state)) == before


@pytest.mark.parametrize("backend", ["loop", "library", "llvm"])
@pytest.mark.parametrize("make", KERNELS, ids=NAMES)
def test_no_gradient_crosses_a_reset(make, backend):
    torch.manual_seed(0)
    cell = make(I, H, dtype=DTYPE)
    x = torch.randn(5, 2, I, dtype=DTYPE, requires_grad=True)
    state = map_leaves(lambda leaf: torch.rand_like(leaf).requires_grad_(), cell.zero_state(2))
    reset = torch.zeros(5, 2, dtype=torch.bool)
    reset[2, 0] = True
    outputs, final = scan(cell, x, state, reset=reset, backend=backend)
    loss = outputs[2:].sum() + sum(leaf.sum() for leaf in final)
    grad_x, *grads = torch.autograd.grad(loss, (x, *state))
    assert not grad_x[:2, 0].any()
    assert grad_x[:2, 1].any()
    assert not any(grad[0].any() for grad in grads)
    assert all(grad[1].any() for grad in grads)


@pytest.mark.parametrize("backend", ["loop", "library", "llvm"])
def test_a_row_of_length_zero_hands_its_state_and_gradient_through(backend):
    cell = LSTM(I, H)
    state = map_leaves(lambda leaf: torch.rand_like(leaf).requires_grad_(), cell.zero_state(2))
    outputs, final = scan(cell, torch.randn(4, 2, I), state, lengths=torch.tensor([0, 0]), backend=backend)
    assert not outputs.any()
    assert digest(final) == digest(state)
    assert all(grad.eq(1).all() for grad in torch.autograd.grad(sum(leaf.sum() for leaf in final), tuple(state)))


def test_a_reset_in_the_padding_is_no_reset():
    cell, state = GRU(I, H), GRU(I, H).zero_state(1)._replace(h=torch.ones(1, H))
    reset = torch.tensor([[False], [False], [True]])
    for backend in ("loop", "library", "llvm"):
        x, ends = torch.randn(3, 1, I), torch.tensor([2])
        marked = scan(cell, x, state, lengths=ends, reset=reset, backend=backend)
        close(marked[1].h.double(), scan(cell, x, state, lengths=ends, backend=backend)[1].h.double())


def test_default_state_is_the_zero_state():
    cell, x = Jordan(I, H, 2), torch.randn(4, 2, I)
    assert digest(scan(cell, x)) == digest(scan(cell, x, cell.zero_state(2)))


class Gated(torch.nn.Module):
    """A sum of one input where the other says so: a tree of inputs and a bare tensor for a state."""

    def zero_state(self, batch):
        return torch.zeros(batch, 1)

    def step(self, x, state):
        value, gate = x
        state = state + value * gate.unsqueeze(-1)
        return state, state


def test_inputs_may_be_a_tree():
    value, gate = torch.ones(4, 2, 1), torch.tensor([[1, 0], [1, 1], [1, 0], [1, 1]])
    outputs, final = scan(Gated(), (value, gate))
    assert outputs.squeeze(-1).t().tolist() == [[1, 2, 3, 4], [0, 1, 1, 2]]
    assert final.squeeze(-1).tolist() == [4, 2]
    outputs, _ = scan(Gated(), (value, gate), reverse=True, lengths=torch.tensor([4, 2]))
    assert outputs.squeeze(-1).t().tolist() == [[4, 3, 2, 1], [1, 1, 0, 0]]


CELL, X = LSTM(I, H), torch.zeros(5, 2, I)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (torch.zeros(0, 2, I), {}, "at least one step and one row; found T=0, B=2"),
        (torch.zeros(5, 0, I), {}, "at least one step and one row"),
        (torch.zeros(5), {}, "time first"),
        ((X, torch.zeros(4, 2)), {}, "equal T and B"),
        (X, {"state": CELL.zero_state(3)}, "inputs have 2 rows, but the state has 3"),
        (X, {"lengths": torch.tensor([1, 2, 3])}, r"lengths must be \(2,\) integers"),
        (X, {"lengths": torch.tensor([1.0, 2.0])}, r"lengths must be \(2,\) integers"),
        (X, {"lengths": torch.tensor([1, 6])}, r"lengths must lie in 0..5; found 1..6"),
        (X, {"lengths": torch.tensor([-1, 5])}, r"lengths must lie in 0..5; found -1..5"),
        (X, {"reset": torch.zeros(2, 5, dtype=torch.bool)}, r"reset must be \(5, 2\) bool"),
        (X, {"reset": torch.zeros(5, 2)}, r"reset must be \(5, 2\) bool"),
    ],
)
def test_what_does_not_fit_is_said(inputs, options, message):
    with pytest.raises(ShapeError, match=message):
        scan(CELL, inputs, **options)


def test_backends_that_cannot_run_are_said():
    with pytest.raises(EngineError, match="unknown backend 'libary'; did you mean 'library'"):
        scan(CELL, X, backend="libary")
    with pytest.raises(EngineError, match="no kernel computes the step of Gated"):
        scan(Gated(), X, backend="library")
