"""Cells, stacks and layers that read both ways: a step of them, and a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from recurra.errors import ConfigError
from recurra.export.onnx.attention import AttentionStep
from recurra.export.onnx.nodes import Nodes
from recurra.export.onnx.standard import find_operator, write_operator
from recurra.export.onnx.step import Step, record_step
from recurra.layers import Bidirectional, Stack, WindowAttention
from recurra.state import named_leaves

__all__ = ["Ends", "input_size", "leaves_of", "write_ends", "write_sequence", "write_step"]


class Ends(NamedTuple):
    """Where rows end.

    Args:
        lengths: name of an int64 tensor (B,).
        short: the same as int32, which operators read.
        alive: (T, B, 1) bool, true within a row.
    """

    lengths: str
    short: str
    alive: str


def write_ends(n: Nodes, lengths: str, x: str) -> Ends:
    """Write what follows from lengths (B,) int64 for a sequence x (T, B, ...)."""
    steps = n.add("Squeeze", n.add("Shape", x, start=0, end=1))
    zero, one = n.number(0, np.int64), n.number(1, np.int64)
    time = n.add("Unsqueeze", n.add("Range", zero, steps, one), n.integers(1))
    alive = n.add("Unsqueeze", n.add("Less", time, lengths), n.integers(-1))
    return Ends(lengths, n.add("Cast", lengths, to=_kind(n, np.int32)), alive)


def leaves_of(cell: Any) -> dict[str, torch.Tensor]:
    """Return a fresh row of a cell's state, (1, ...) each, by the paths of `recurra.state.named_leaves`.

    Raises: ConfigError for a state that does not start alike in every row, or is not of single precision.
    """
    leaves = named_leaves(cell.zero_state(2))
    for path, leaf in leaves.items():
        if leaf.dtype != torch.float32:
            what_to_do = "use model.float()" if leaf.is_floating_point() else "carry it as a float"
            raise ConfigError(f"leaf '{path}' of the state is {leaf.dtype}, and float32 is exported; {what_to_do}")
        if not torch.equal(leaf[0], leaf[1]):
            raise ConfigError(f"leaf '{path}' of the state starts with another value in every row; it cannot be told")
    return {path: leaf[:1].detach() for path, leaf in leaves.items()}


def input_size(cell: Any) -> int:
    """Return the features I that a cell reads. Raises: ConfigError if it does not tell."""
    size = getattr(cell, "input_size", None)
    if size is None:
        raise ConfigError(f"{type(cell).__name__} does not tell what it reads; give it the attribute input_size")
    return int(size)


def write_step(n: Nodes, cell: Any, x: str, state: Sequence[str], width: int) -> tuple[str, list[str]]:
    """Write a step of a cell or a stack: x (B, I) and leaves (B, ...) -> output (B, O), leaves after the step."""
    if isinstance(cell, Stack):
        return _write_layers(n, cell, x, state, width, partial(write_step, n))
    if find_operator(cell) is not None:
        outputs, final = write_operator(n, cell, n.add("Unsqueeze", x, n.integers(0)), state)
        return n.add("Squeeze", outputs, n.integers(0)), final
    shapes = [leaf.shape[1:] for leaf in leaves_of(cell).values()]
    flat = [_flat(n, leaf, shape) for leaf, shape in zip(state, shapes, strict=True)]
    output, following = _step_of(cell, width).write(n, x, flat)
    return output, [_unflat(n, leaf, shape) for leaf, shape in zip(following, shapes, strict=True)]


def write_sequence(
    n: Nodes, cell: Any, x: str, state: Sequence[str], width: int, ends: Ends | None = None
) -> tuple[str, list[str]]:
    """Write a scan of a cell, a stack, or layers that read both ways.

    Args:
        x: (T, B, I); with `ends`, what lies past the end of a row is not read.
        state: its leaves (B, ...), in the order of `named_leaves`.
        width: I.
    Returns: (outputs (T, B, O), the leaves after the last step).
    """
    if isinstance(cell, Stack):
        return _write_layers(n, cell, x, state, width, partial(write_sequence, n, ends=ends), ends)
    if not isinstance(cell, Bidirectional):
        return _write_scan(n, cell, x, state, width, ends)
    left, final = list(state), []
    for forward, backward in zip(cell.forwards, cell.backwards, strict=True):
        outputs = []
        for one, reverse in ((forward, False), (backward, True)):
            count = len(leaves_of(one))
            output, after = _write_scan(n, one, x, left[:count], width, ends, reverse)
            left = left[count:]
            outputs.append(output)
            final += after
        x, width = n.add("Concat", *outputs, axis=-1), _width(forward, width) + _width(backward, width)
    return x, final


def _write_layers(
    n: Nodes, stack: Stack, x: str, state: Sequence[str], width: int, write: Any, ends: Ends | None = None
) -> tuple[str, list[str]]:
    """Write the layers of a stack, from the bottom up, as `Stack.step` goes through them."""
    left, final = list(state), []
    bottom, sizes = x, width
    for layer, cell in enumerate(stack.cells):
        count = len(leaves_of(cell))
        output, after = write(cell, x, left[:count], width)
        left = left[count:]
        final += after
        features = _width(cell, width)
        if stack.residual and features == width:
            if ends is not None and not layer:
                x = n.add("Where", ends.alive, x, n.number(0.0))
            output = n.add("Add", x, output)
        x, width = output, features
    if stack.attention is not None:
        x, after = write(stack.attention, n.add("Concat", x, bottom, axis=-1), left, width + sizes)
        final += after
    return x, final


def _write_scan(
    n: Nodes, cell: Any, x: str, state: Sequence[str], width: int, ends: Ends | None, reverse: bool = False
) -> tuple[str, list[str]]:
    """Write a cell's own operator, or else a Scan whose body is the cell's step."""
    if find_operator(cell) is not None:
        return write_operator(n, cell, x, state, "" if ends is None else ends.short, reverse)
    shapes = [leaf.shape[1:] for leaf in leaves_of(cell).values()]
    step, body = _step_of(cell, width), Nodes(n)
    carries = [body.input(body.name("carry"), ["batch", size.numel()]) for size in shapes]
    at = body.input(body.name("x"), ["batch", width])
    alive = None if ends is None else body.input(body.name("alive"), ["batch", 1], bool)
    output, following = step.write(body, at, carries)
    if alive is not None:
        following = [body.add("Where", alive, new, old) for new, old in zip(following, carries, strict=True)]
        output = body.add("Where", alive, output, body.number(0.0))
    for new, size in zip(following, shapes, strict=True):
        body.output(body.name("next"), new, ["batch", size.numel()])
    body.output(body.name("output"), output, ["batch", step.output_size])
    inputs = [x] if ends is None else [x, ends.alive]
    found = n.add(
        "Scan",
        *(_flat(n, leaf, shape) for leaf, shape in zip(state, shapes, strict=True)),
        *inputs,
        outputs=len(state) + 1,
        body=body.body(type(cell).__name__),
        num_scan_inputs=len(inputs),
        scan_input_directions=[int(reverse)] * len(inputs),
        scan_output_directions=[int(reverse)],
    )
    *final, outputs = [found] if isinstance(found, str) else found
    return outputs, [_unflat(n, leaf, shape) for leaf, shape in zip(final, shapes, strict=True)]


def _step_of(cell: Any, width: int) -> Step | AttentionStep:
    return AttentionStep(cell) if isinstance(cell, WindowAttention) else record_step(cell, width)


@torch.no_grad()
def _width(cell: Any, width: int) -> int:
    """Return the features O of a cell's output: told by it, or seen in a step."""
    told = getattr(cell, "output_size", None)
    return int(cell.step(torch.zeros(1, width), cell.zero_state(1))[0].shape[-1] if told is None else told)


def _flat(n: Nodes, leaf: str, shape: torch.Size) -> str:
    return leaf if len(shape) == 1 else str(n.add("Reshape", leaf, n.integers(-1, shape.numel())))


def _unflat(n: Nodes, leaf: str, shape: torch.Size) -> str:
    return leaf if len(shape) == 1 else str(n.add("Reshape", leaf, n.integers(-1, *shape)))


def _kind(n: Nodes, dtype: Any) -> int:
    return int(n.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
