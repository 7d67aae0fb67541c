"""How far gradients travel: windows, what is cut between them, and how values are joined."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recurra.cells import GRU, LSTM
from recurra.engine import Full, Truncated, scan, unroll
from recurra.errors import BackpropError
from recurra.testing.tolerances import TOLERANCES

RANDOM = np.random.default_rng(0)


def test_windows_cover_every_step_once():
    assert list(Truncated(3).windows(7)) == [(0, 0, 3), (3, 3, 6), (6, 6, 7)]
    assert list(Truncated(3).windows(6)) == [(0, 0, 3), (3, 3, 6)]
    assert list(Truncated(9).windows(7)) == [(0, 0, 7)]
    assert list(Full().windows(7)) == [(0, 0, 7)]
    assert (Truncated(3).span, Full().span, Full(9).span) == (3, 1024, 9)


def test_windows_that_reach_back_overlap():
    assert list(Truncated(2, 5).windows(7)) == [(0, 0, 2), (0, 2, 4), (1, 4, 6), (2, 6, 7)]
    assert list(Truncated(2, 2).windows(3)) == list(Truncated(2).windows(3))


def test_a_stream_is_cut_into_spans():
    assert list(Full(3).spans(7, RANDOM)) == [(0, 0, 3), (3, 3, 6), (6, 6, 7)]
    assert list(Truncated(2, 5).spans(5, RANDOM)) == list(Truncated(2, 5).windows(5))


@pytest.mark.parametrize(("k1", "k2"), [(0, None), (-3, None), (4, 3), (1, 0)])
def test_windows_are_positive_and_reach_back_over_their_own_steps(k1, k2):
    with pytest.raises(BackpropError):
        Truncated(k1, k2)
    with pytest.raises(BackpropError, match="at least 1"):
        Full(0)


def test_unroll_carries_the_state_through_windows():
    seen = []

    def segment(piece, state):
        seen.append((piece.tolist(), state.requires_grad))
        return piece * state, state * 2

    start = torch.ones((), requires_grad=True)
    value, state = unroll(segment, torch.arange(7.0), start, Truncated(3))
    assert seen == [([0, 1, 2], True), ([3, 4, 5], False), ([6], False)]
    assert value.tolist() == [0, 1, 2, 6, 8, 10, 24]
    assert state.item() == 8


def test_values_are_joined_along_time_or_added():
    def segment(piece, state):
        return (piece, piece.sum()), state

    (joined, total), _ = unroll(segment, torch.arange(7.0), torch.zeros(1), Truncated(2))
    assert joined.tolist() == list(range(7))
    assert total.item() == 21


def test_nothing_stands_for_a_tensor_that_is_not_there():
    value, _ = unroll(lambda piece, s: (piece[0], s), (torch.arange(4.0), None), torch.zeros(1), Truncated(3))
    assert value.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("backend", ["loop", "library", "llvm"])
@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_gradients_end_at_the_border_of_a_window(window, backend):
    torch.manual_seed(0)
    cell, steps = GRU(2, 3), 6
    x = torch.randn(steps, 1, 2, requires_grad=True)
    state = cell.zero_state(1)
    state.h.requires_grad_()
    outputs, _ = scan(cell, x, state, backprop=Truncated(window), backend=backend)
    for t in range(steps):
        grad_x, grad_h = torch.autograd.grad(outputs[t].sum(), (x, state.h), retain_graph=True, materialize_grads=True)
        first = t - t % window
        assert [bool(g.any()) for g in grad_x] == [first <= s <= t for s in range(steps)]
        assert bool(grad_h.any()) == (first == 0)


@pytest.mark.parametrize("backend", ["loop", "library", "llvm"])
@pytest.mark.parametrize(("k1", "k2"), [(1, 3), (2, 3), (2, 5), (3, 7)])
def test_losses_of_a_window_reach_back_k2_steps_from_its_end(k1, k2, backend):
    torch.manual_seed(0)
    cell, steps = LSTM(2, 3), 8
    x = torch.randn(steps, 1, 2, requires_grad=True)
    outputs, _ = scan(cell, x, backprop=Truncated(k1, k2), backend=backend)
    full, _ = scan(cell, x, backend=backend)
    torch.testing.assert_close(outputs, full, **TOLERANCES[outputs.dtype])
    for t in range(steps):
        (gradient,) = torch.autograd.grad(outputs[t].sum(), x, retain_graph=True, materialize_grads=True)
        end = min(t - t % k1 + k1, steps)
        assert [bool(g.any()) for g in gradient] == [max(0, end - k2) <= s <= t for s in range(steps)]


def test_windows_of_the_whole_length_reach_everything():
    torch.manual_seed(0)
    cell, x = GRU(2, 3).double(), torch.randn(7, 2, 2, dtype=torch.float64, requires_grad=True)
    cut, full = (
        torch.autograd.grad(scan(cell, x, backprop=p)[0].square().sum(), [x, *cell.parameters()])
        for p in (Truncated(2, 7), Full())
    )
    for a, b in zip(cut, full, strict=True):
        torch.testing.assert_close(a, b, **TOLERANCES[torch.float64])


def test_a_state_that_is_handed_on_without_detaching_lets_gradients_through():
    torch.manual_seed(0)
    cell, x = GRU(2, 3).double(), torch.randn(6, 2, 2, dtype=torch.float64, requires_grad=True)
    first, state = scan(cell, x[:4])
    second, _ = scan(cell, x[4:], state)
    pieces = torch.autograd.grad((first.sum() + second.square().sum()), x)
    outputs, _ = scan(cell, x)
    whole = torch.autograd.grad(outputs[:4].sum() + outputs[4:].square().sum(), x)
    torch.testing.assert_close(pieces, whole, **TOLERANCES[torch.float64])


@pytest.mark.parametrize("backprop", ["64", 64, Full], ids=str)
def test_what_is_no_policy_is_refused(backprop):
    with pytest.raises(BackpropError, match="backprop is a policy such as"):
        scan(GRU(2, 3), torch.randn(4, 1, 2), backprop=backprop)


@pytest.mark.parametrize("steps", [2.5, True, "a", None])
def test_windows_are_whole_numbers(steps):
    with pytest.raises(BackpropError, match="whole number of steps"):
        Full(steps)
