"""How far what is exported differs from the model, over outputs and states; prints JSON lines.

python benchmarks/interchange.py [--hidden 256 --layers 2 --steps 200 --rows 16] [--cells lstm gru ...]

For each cell a stack with the weights that it starts from reads random numbers from a random state: by the reference
loop of recurra, by onnxruntime (the whole sequence, and step by step), by torch.nn where that has the cell, and by
Keras (one layer, fresh state) where it is installed and has it. Beside them stands what rounding alone does to it:
the reference in single precision beside the reference in double precision. All are divided by the largest number that
the reference gives, where that is above 1.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recurra.cells import CELLS, make_cell
from recurra.errors import ConfigError
from recurra.export import OnnxModel, to_keras, to_onnx, to_torch
from recurra.nn import Stack
from recurra.state import map_leaves, named_leaves

FORMS: dict[str, dict[str, Any]] = {"gru": {"reset_after": True}, "gru-original": {"reset_after": False}}
RELU = {"irnn", "rnn-relu"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("hidden", 256), ("layers", 2), ("steps", 200), ("rows", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.cells:
        torch.manual_seed(0)
        cells = [make_cell(name, given.hidden, given.hidden) for _ in range(given.layers)]
        x = torch.randn(given.steps, given.rows, given.hidden)
        with torch.no_grad():
            print(json.dumps({"cell": name, **differences(Stack(cells).eval(), x), "keras": beside_keras(name, x)}))


def differences(stack: Stack, x: torch.Tensor) -> dict[str, float | None]:
    start = map_leaves(lambda leaf: leaf + 0.3 * torch.randn_like(leaf), stack.zero_state(x.shape[1]))
    outputs, final = stack(x, start, backend="loop")
    ours = [outputs, *named_leaves(final).values()]
    exact, _ = copy.deepcopy(stack).double()(x.double(), map_leaves(torch.Tensor.double, start), backend="loop")
    with tempfile.TemporaryDirectory() as folder:
        to_onnx(stack, Path(folder) / "graphs")
        graphs = OnnxModel(Path(folder) / "graphs", threads=1)
        state = {f"state.{name}": leaf.numpy() for name, leaf in named_leaves(start).items()}
        whole, after = graphs.scan(x.numpy(), state)
        steps = []
        for inputs in x.numpy():
            output, state = graphs.step(inputs, state)
            steps.append(output)
    found: dict[str, float | None] = {
        "rounding": largest([outputs], [exact.numpy()]),
        "onnx_sequence": largest(ours, [whole, *after.values()]),
        "onnx_steps": largest(ours, [np.stack(steps), *state.values()]),
    }
    try:
        module = to_torch(stack)
    except ConfigError:
        return {**found, "torch": None}
    leaves = tuple(torch.stack([layer[n] for layer in start]) for n in range(len(start[0])))
    theirs, _ = module(x, leaves if len(leaves) > 1 else leaves[0])
    return {**found, "torch": largest([outputs], [theirs.numpy()])}


def beside_keras(name: str, x: torch.Tensor) -> float | None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    cell = make_cell(name, x.shape[-1], x.shape[-1])
    try:
        import keras

        weights = to_keras(cell)
    except (ImportError, ConfigError):
        return None
    kind = {4: "LSTM", 3: "GRU", 1: "SimpleRNN"}[weights[0].shape[1] // len(weights[1])]
    more = FORMS.get(name, {"activation": "relu"} if name in RELU else {})
    layer = getattr(keras.layers, kind)(len(weights[1]), return_sequences=True, **more)
    layer.build(x.transpose(0, 1).shape)
    layer.set_weights(weights)
    theirs = keras.ops.convert_to_numpy(layer(x.transpose(0, 1))).swapaxes(0, 1)
    return largest([Stack([cell])(x, backend="loop")[0]], [theirs])


def largest(ours: list[torch.Tensor], theirs: list[Any]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return max(float(np.abs(a.numpy() - b).max()) / max(1.0, float(a.abs().max())) for a, b in pairs)


if __name__ == "__main__":
    main()
