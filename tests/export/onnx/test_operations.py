"""Every operation of the engine, written in ONNX, gives what torch gives, at the edges as well."""

import numpy as np
import onnxruntime
import pytest
import torch

from recurra.engine.graphs.operations import OPERATIONS
from recurra.export.onnx.nodes import Nodes
from recurra.export.onnx.operations import OPERATORS
from recurra.testing.tolerances import TOLERANCES

A = torch.tensor([-88.0, -3.0, -1.0, -0.75, -1e-3, -1e-7, -0.0, 0.0, 1e-9, 1e-4, 0.25, 0.5, 1.0, 2.0, 20.0, 80.0])
B = A.flip(0) + 0.5
OF_TRUTH = {"and", "or", "not"}
POSITIVE = {"sqrt", "rsqrt", "log"}
ATTRIBUTES = {"clamp": [(-0.5, 1.0), (-float("inf"), 1.0), (-1.0, float("inf"))], "power": [(2.0,), (3.0,)]}


def test_every_operation_of_a_step_is_written():
    assert set(OPERATORS) == set(OPERATIONS) - {"gate"}  # which is about gradients


@pytest.mark.parametrize("name", OPERATORS)
def test_it_gives_what_torch_gives(name):
    compute = OPERATIONS[name].compute
    count = {"where": 3, "normalised": 3}.get(name) or (2 if name in TWO else 1)
    tensors = [A.abs() + 1e-6 if name in POSITIVE else A, B, A * 0.5][:count]
    if name == "log1p":
        tensors = [A[A > -1]]
    if name in OF_TRUTH:
        tensors = [t > 0.3 for t in tensors]
    if name == "where":
        tensors[0] = A > 0.3
    for attributes in ATTRIBUTES.get(name, [()]):
        n = Nodes()
        inputs = [n.input(f"x{i}", ["n"], t.numpy().dtype) for i, t in enumerate(tensors)]
        result = OPERATORS[name](n, *inputs, *attributes)
        want = compute(*tensors, *attributes).numpy()
        n.output("y", result, ["n"], want.dtype)
        session = onnxruntime.InferenceSession(n.model("operation", {}).SerializeToString())
        (found,) = session.run(None, {f"x{i}": t.numpy() for i, t in enumerate(tensors)})
        np.testing.assert_allclose(found, want, **TOLERANCES[torch.float32])
        if name in ("expm1", "log1p"):  # near zero they lose nothing
            np.testing.assert_allclose(found, want, rtol=1e-6, atol=0)


TWO = {"add", "sub", "mul", "div", "minimum", "maximum", "and", "or", "lt", "le", "gt", "ge", "eq", "ne"}
