"""The backward pass of a compiled loop: gradients of all that it was given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.engine.native.backward_script import is_turned, write_backward
from recurra.engine.native.given import Left, Shape
from recurra.engine.native.loops import Loop

__all__ = ["backward"]


def backward(
    loop: Loop,
    shape: Shape,
    tensors: tuple[Any, ...],
    left: Left,
    gradients: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
) -> list[Tensor | None]:
    """Run the loop backward: gradients of what it was given, in the order of `Given.flatten`.

    Args:
        tensors: what was given, flat.
        gradients: of the emits, then of the final state; None for zeros.
        wanted: for each tensor, whether its gradient is.
    """
    given, count = shape.sort(tensors), len(loop.graph.emits)
    arriving, finals = gradients[:count], gradients[count:]
    strides, depths = given.strides(), given.depths()
    have = tuple([gradient is not None for gradient in finals])
    key = ("backward", shape, torch.get_num_threads(), *depths.items(), *strides, wanted, have)
    task = loop.scripts.find(key, lambda: write_backward(loop, shape, depths, strides, shape.sort(wanted), have))
    arrays = given.named()
    for number in task.arriving:
        arrays["gradient", number] = _zeros(loop, shape, number) if (g := arriving[number]) is None else g.contiguous()
    arrays.update((("history", n), array) for n, array in left.histories.items())
    arrays.update((("emit", n), array) for n, array in left.emits.items())
    if left.kept is not None:
        arrays["kept", 0] = left.kept.tensor
    arrays.update((("final", n), gradient.contiguous()) for n, gradient in enumerate(finals) if gradient is not None)
    made = {name: torch.empty(size, dtype=loop.dtype) for name, size in task.sizes.items()}
    made.update((name, torch.zeros(size, dtype=loop.dtype)) for name, size in task.cleared.items())
    arrays.update(made)
    task.script.run(arrays)
    results: list[Tensor | None] = []
    for number, stream in enumerate(loop.graph.streams):
        found = made.get(("whole", number))
        if found is None or number in loop.constant:
            results.append(made.get(("input", number)))
        else:
            results.append(found.flatten(0, 1) if stream.per_step else found.sum(0))
    results += [_turned(made.get(("dfeed", n)), feed) for n, feed in given.feeds.items()]
    results += [_vector_gradient(vector, *task.sums[n], made["sums", 0]) for n, vector in enumerate(given.vectors)]
    results += [_turned(made.get(("dweight", n)), weight) for n, weight in enumerate(given.weights)]
    return [*results, *(made["carried", leaf] for leaf in range(len(loop.graph.carries)))]


def _zeros(loop: Loop, shape: Shape, number: int) -> Tensor:
    width = sum(piece.channels for piece in loop.graph.emits[number])
    return torch.zeros(shape.steps, shape.rows, width, dtype=loop.dtype)


def _turned(gradient: Tensor | None, matrix: Tensor) -> Tensor | None:
    """Return a gradient that was written in the matrix's own order of memory in the matrix's shape."""
    return gradient.transpose(-1, -2) if gradient is not None and is_turned(matrix.stride()) else gradient


def _vector_gradient(vector: Tensor, parts: list[tuple[int, int, int]], is_one: bool, sums: Tensor) -> Tensor:
    """Return the gradient of a vector of parameters from the sums of the loop.

    Args:
        parts: (first channel, start and stop among the sums).
        is_one: is it just one part, the whole?
    """
    if is_one:
        ((_, start, stop),) = parts
        return sums[start:stop]
    total = torch.zeros_like(vector)
    for column, start, stop in parts:
        if len(vector) == 1:
            total += sums[start:stop].sum()
        else:
            total[column : column + stop - start] += sums[start:stop]
    return total
