"""Gradients that are scaled on their way."""

from __future__ import annotations

import torch

from recurra.cells import LSTM
from recurra.engine.gate import gated, scale_gradient


def test_values_stay_and_gradients_are_multiplied():
    state = LSTM(2, 3).zero_state(4)
    state = type(state)(*(leaf.requires_grad_() for leaf in state))
    factors = torch.tensor([0.0, 1.0, 2.0, 0.5])
    scaled = scale_gradient(state, factors)
    assert type(scaled) is type(state)
    assert torch.equal(scaled.h, state.h)
    (scaled.h.sum() + 3 * scaled.c.sum()).backward()
    assert torch.equal(state.h.grad, factors.unsqueeze(1).expand(4, 3))
    assert torch.equal(state.c.grad, 3 * factors.unsqueeze(1).expand(4, 3))


def test_nothing_passes_a_zero_not_even_what_is_no_number():
    x = torch.ones(2, requires_grad=True)
    y = gated(x, torch.tensor([0.0, 1.0]))
    y.backward(torch.tensor([torch.inf, 1.0]))
    assert x.grad.tolist() == [0.0, 1.0]


def test_whole_numbers_have_no_gradient_to_scale():
    assert torch.equal(scale_gradient(torch.arange(3), torch.ones(3)), torch.arange(3))
