"""Compiled loops as functions that autograd knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.engine.graphs.interpreter import interpret
from recurra.engine.native.backward import backward
from recurra.engine.native.forward import forward
from recurra.engine.native.given import Given, Shape
from recurra.engine.native.loops import Loop

__all__ = ["run_loop_natively"]


def run_loop_natively(loop: Loop, steps: int, rows: int, given: Given) -> tuple[list[Tensor], list[Tensor]]:
    """Run a compiled loop.

    Returns: (emits (T, B, width), final state (B, width) of each leaf).
    Gradient: into all that is given.
    """
    tensors = given.flatten()
    count = len(loop.graph.emits)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        shape = Shape(steps, rows, len(given.streams), tuple(given.feeds), len(given.vectors), len(given.weights))
        results = _Scan.apply(loop, shape, *tensors)
        return list(results[:count]), list(results[count:])
    emits, finals, _ = forward(loop, steps, rows, given, trains=False)
    return emits, finals


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loop: Loop, shape: Shape, *tensors: Any) -> tuple[Tensor, ...]:
        emits, finals, left = forward(loop, shape.steps, shape.rows, shape.sort(tensors), trains=True)
        # through torch, so that its hooks see all that is kept, and that it finds what is modified in place
        ctx.save_for_backward(*tensors, *left.tensors())
        ctx.loop, ctx.shape, ctx.left = loop, shape, left
        ctx.set_materialize_grads(False)
        # aliases: a tensor that knows this function must not be kept by it, nor be a view that torch forbids to modify
        return tuple(result.detach() for result in (*emits, *finals))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        wanted, given = ctx.needs_input_grad[2:], ctx.saved_tensors[: len(ctx.needs_input_grad) - 2]
        if torch.is_grad_enabled():  # the gradient is to be differentiated in turn
            return (None, None, *_differentiable(ctx.loop, ctx.shape, given, gradients, wanted))
        return (None, None, *backward(ctx.loop, ctx.shape, given, ctx.left, gradients, wanted))


def _differentiable(
    loop: Loop, shape: Shape, tensors: tuple[Any, ...], gradients: tuple[Tensor | None, ...], wanted: tuple[bool, ...]
) -> list[Tensor | None]:
    """The gradients of a loop with a graph of their own: computed again by torch operations."""
    # a tensor that is given twice has a gradient in each place
    tensors = tuple(t.view_as(t) if needed else t for t, needed in zip(tensors, wanted, strict=True))
    given = shape.sort(tensors)
    streams = [x @ given.feeds[n] if n in given.feeds else x for n, x in enumerate(given.streams)]
    emits, finals = interpret(loop.graph, shape.steps, shape.rows, streams, given.vectors, given.weights, given.states)
    reached = [(r, g) for r, g in zip((*emits, *finals), gradients, strict=True) if g is not None and r.requires_grad]
    results, arriving = [r for r, _ in reached], [g for _, g in reached]
    sources = [tensor for tensor, needed in zip(tensors, wanted, strict=True) if needed]
    found = iter(torch.autograd.grad(results, sources, arriving, create_graph=True, allow_unused=True))
    return [next(found) if needed else None for needed in wanted]
