"""Gradients of a scan under a policy, for comparing."""

from __future__ import annotations

import torch

from recurra.engine import scan
from recurra.state import map_leaves, named_leaves


def gradients(cell, x, policy, *, warm=True, **options):
    """Return outputs, final state and the gradients of inputs, state and parameters, by name."""
    x = x.clone().requires_grad_()
    state = map_leaves(lambda leaf: (leaf + 0.1 * warm).requires_grad_(), cell.zero_state(x.shape[1]))
    outputs, final = scan(cell, x, state, backprop=policy, **options)
    final = policy.value(final)
    weights = torch.linspace(-1, 1, outputs.numel(), dtype=x.dtype).view_as(outputs)
    loss = (outputs * weights).sum() + sum(leaf.square().sum() for leaf in named_leaves(final).values())
    names = ["inputs", *(f"state {n}" for n in named_leaves(state)), *dict(cell.named_parameters())]
    found = torch.autograd.grad(loss, [x, *named_leaves(state).values(), *cell.parameters()])
    values = {"outputs": outputs.detach(), **{f"final {n}": v.detach() for n, v in named_leaves(final).items()}}
    return {**values, **dict(zip(names, found, strict=True))}


def relative(found, expected, without=()):
    """Return the largest difference relative to the norm of what is expected."""
    assert found.keys() == expected.keys()
    return max(
        float((found[name] - expected[name]).norm() / (expected[name].norm() + 1e-30))
        for name in expected
        if name not in without
    )
