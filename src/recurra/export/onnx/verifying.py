"""Is what was written what the model does? Asked at sizes of batch and time that no graph has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.errors import RunError
from recurra.export.onnx.runner import OnnxModel
from recurra.export.onnx.subject import Subject

__all__ = ["TOLERANCE", "largest_difference"]

SIZES = ((1, 1), (2, 3), (13, 5))
"""Steps and rows of the sequences that are compared, each twice with the state carried."""

TOLERANCE = 1e-4
"""Of a number, or of the largest beside it, in single precision."""


@torch.no_grad()
def largest_difference(subject: Subject, folder: Path) -> float:
    """Return the largest difference between the model and its graphs, run by onnxruntime.

    Sequences are compared, then the same sequences taken step by step.
    Raises: RunError if it is larger than rounding explains.
    """
    graphs, generator = OnnxModel(folder, threads=torch.get_num_threads()), np.random.default_rng(0)
    found = 0.0
    for steps, rows in SIZES:
        state = graphs.zero_state(rows)
        for _ in range(2):
            x = subject.sample(generator, steps, rows)
            lengths = generator.integers(0 if subject.leaves else 1, steps + 1, rows) if subject.lengths else None
            # names of the state's leaves here and there differ, their order does not
            before = dict(zip(subject.leaves, state.values(), strict=True))
            ours = subject.compute(x, before, None if lengths is None else torch.from_numpy(lengths))
            if subject.has_step:
                whole = subject.compute(x, before, None)
                found = max(found, _difference(_fold(graphs, x, state), whole, "steps"))
            output, state = graphs.scan(x, state, lengths=lengths)
            found = max(found, _difference([output, *state.values()], ours, "sequence"))
    return found


def _fold(graphs: OnnxModel, x: NDArray[Any], state: Any) -> list[NDArray[Any]]:
    outputs = []
    for inputs in x:
        output, state = graphs.step(inputs, state)
        outputs.append(output)
    return [np.stack(outputs), *state.values()]


def _difference(theirs: list[NDArray[Any]], ours: list[torch.Tensor], what: str) -> float:
    found = 0.0
    for got, tensor in zip(theirs, ours, strict=True):
        want = tensor.numpy()
        if got.shape != want.shape:
            raise RunError(f"the ONNX graph of {what} gives {got.shape} where the model gives {want.shape}")
        difference = float(np.abs(got - want).max(initial=0.0))
        if not difference <= TOLERANCE * max(1.0, float(np.abs(want).max(initial=0.0))):
            raise RunError(
                f"the ONNX graph of {what} differs from the model by {difference:.2g}; nothing was written, as its "
                "step does not do what it shows"
            )
        found = max(found, difference)
    return found
