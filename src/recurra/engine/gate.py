"""Gradients that are scaled on their way: what stands in front of a step is the state, behind it its gradient."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from recurra.state import map_leaves

__all__ = ["gated", "scale_gradient"]

S = TypeVar("S")


def scale_gradient(state: S, factors: Tensor) -> S:
    """Return the same state; gradients that flow back through it are multiplied by factors (B,), cut off by 0."""

    def scaled(leaf: Tensor) -> Tensor:
        return gated(leaf, factors.to(leaf.dtype).reshape(-1, *[1] * (leaf.ndim - 1)))

    return map_leaves(lambda leaf: scaled(leaf) if leaf.is_floating_point() or leaf.is_complex() else leaf, state)


def gated(tensor: Tensor, factor: Tensor) -> Tensor:
    """Return the same tensor; its gradient is multiplied by a factor, and nothing passes where that is 0."""
    result: Tensor = _Gate.apply(tensor, factor)
    return result


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,), (gradient,) = ctx.saved_tensors, gradients
        # not a product with 0, which a gradient that has overflown would survive as NaN
        return torch.where(factor == 0, 0, gradient * factor), None
