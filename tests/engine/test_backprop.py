"""How far gradients travel: policies, their windows, and how they are written."""

from __future__ import annotations

import pytest
import torch

from recurra.cells import GRU
from recurra.engine import Full, Truncated, parse_policy, scan, unroll
from recurra.errors import BackpropError


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("64", Truncated(64)),
        (" 64 ", Truncated(64)),
        ("truncated:64", Truncated(64)),
        ("full", Full()),
        ("full:256", Full(256)),
    ],
)
def test_policies_are_read(text, policy):
    assert parse_policy(text) == policy
    assert parse_policy(str(policy)) == policy


@pytest.mark.parametrize("text", ["", "ful", "full:x", "64.5", "truncated:", "64:2", "none"])
def test_what_is_no_policy_is_said(text):
    with pytest.raises(BackpropError, match="write 64, full or full:1024"):
        parse_policy(text)


@pytest.mark.parametrize("text", ["0", "-3", "full:0", "truncated:-1"])
def test_windows_are_positive(text):
    with pytest.raises(BackpropError, match="must be at least 1"):
        parse_policy(text)


def test_windows_cover_every_step_once():
    assert list(Truncated(3).windows(7)) == [(0, 3), (3, 6), (6, 7)]
    assert list(Truncated(3).windows(6)) == [(0, 3), (3, 6)]
    assert list(Truncated(9).windows(7)) == [(0, 7)]
    assert list(Full().windows(7)) == [(0, 7)]
    assert (Truncated(3).span, Full().span, Full(9).span) == (3, 1024, 9)


def test_unroll_carries_the_state_through_spans_and_windows():
    seen = []

    def segment(span, state):
        seen.append((span, state.requires_grad))
        return span, state * 2

    start = torch.ones(1, requires_grad=True)
    values, state = unroll(segment, [(0, 5), (5, 7)], start, Truncated(3))
    assert values == [(0, 3), (3, 5), (5, 7)]
    assert seen == [((0, 3), True), ((3, 5), False), ((5, 7), False)]
    assert state.item() == 8


@pytest.mark.parametrize("backend", ["loop", "library"])
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


@pytest.mark.parametrize("policy", [Full(), Truncated(3)], ids=str)
def test_unroll_never_cuts_between_spans_of_its_own_accord(policy):
    start = torch.ones(1, dtype=torch.float64, requires_grad=True)
    values, _ = unroll(lambda span, state: (2 * state, 2 * state), [(0, 3), (3, 6)], start, policy)
    values[-1].backward()
    assert start.grad.item() == 4
