"""Where the matrices of a step are in weights that are stored in few bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.engine.capture.lowering import Split
from recurra.engine.quantised import WEIGHTS, Quantised

__all__ = ["Placed", "place"]


class Placed(NamedTuple):
    """A matrix of a step (K, N), or (blocks, K, N), in few bytes.

    Args:
        kind: what its numbers are, a name of `WEIGHTS`.
        values: seen as the step sees them.
        scales: one per column, block after block; None if there are none.
    """

    kind: str
    values: Tensor
    scales: Tensor | None


def place(
    split: Split, known: Mapping[int, Tensor], small: Mapping[str, Quantised]
) -> tuple[dict[int, Placed], set[str]]:
    """Find the matrices of a step, by number, that are views of weights in few bytes.

    Args:
        known: the tensors of the recording, made of the dequantised weights.
        small: weights in few bytes, by where the cell keeps them.
    Returns: what was found, and the places of the weights that the step needs in another way, in float32.
    """
    recording = split.recording
    sources = {number: {path} for number, path in recording.captured.items() if path in small}
    owners = {known[number].untyped_storage().data_ptr(): path for number, (path,) in sources.items()}
    for call in split.before:
        found = set[str]().union(*(sources.get(number, ()) for number in call.inputs))
        sources |= {number: found for number in call.outputs if number is not None and found}
    placed, needed = {}, set[str]()
    for number, _ in split.vectors:
        needed |= sources.get(number, set())
    for n, number in enumerate(split.weights):
        path = owners.get(known[number].untyped_storage().data_ptr())
        seen = None if path is None else _see(known[number], small[path])
        if seen is None:
            needed |= sources.get(number, set())
        else:
            placed[n] = seen
    return placed, needed


def _see(matrix: Tensor, small: Quantised) -> Placed | None:
    """Return the same view of a matrix in few bytes, unless a column of it is more than one channel."""
    if matrix.stride(-2) != 1:
        return None
    shape, stride, start = matrix.shape, matrix.stride(), matrix.storage_offset()
    width = small.values.shape[-1]
    blocks, columns = (shape[0] if matrix.ndim == 3 else 1), torch.arange(shape[-1])
    first: Any = start + columns * stride[-1] + (torch.arange(blocks) * stride[0]).unsqueeze(1) * (matrix.ndim == 3)
    if int((first % width).max()) + shape[-2] > width:
        return None
    kind = next(name for name, dtype in WEIGHTS.items() if dtype == small.values.dtype)
    scales = None if small.scales is None else small.scales.flatten()[(first // width).flatten()]
    return Placed(kind, small.values.as_strided(shape, stride, start), scales)
