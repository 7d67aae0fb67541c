"""onnxruntime: ONNX's own RNN, GRU or LSTM node, forward alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.benchmarks.work import Call, Unavailable, Work, kind_of
from recurra.state import named_leaves

__all__ = ["prepare"]

OPSET = 17
IR_VERSION = 8
# (node, order of our gates in it, attributes)
NODES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "rnn_tanh": ("RNN", (0,), {}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
}


def prepare(work: Work) -> Call | None:
    """Start a session for the cells that ONNX has a node for; it has no gradients.

    Raises: Unavailable without onnxruntime or onnx.
    """
    kind = kind_of(work.cell)
    if kind not in NODES or work.case.mode == "train":
        return None
    try:
        import onnxruntime
        from onnx import helper
    except ImportError as error:
        raise Unavailable(
            f"{error.name} is not installed; pip install onnxruntime onnx, or all peers with recurra[bench]"
        ) from error
    leaves = [leaf.unsqueeze(0).numpy() for leaf in named_leaves(work.state).values()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    model = _model(helper, work, kind, len(leaves)).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    feeds = {"x": work.inputs.numpy(), **{f"s{k}": leaf for k, leaf in enumerate(leaves)}}
    results = {"y": np.empty((*work.inputs.shape[:1], 1, *work.inputs.shape[1:]), np.float32)}
    results |= {f"n{k}": np.empty_like(leaf) for k, leaf in enumerate(leaves)}
    for bind, arrays in ((binding.bind_input, feeds), (binding.bind_output, results)):
        for name, array in arrays.items():
            bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def call(_keep: Any = feeds) -> Sequence[Any]:  # the binding knows addresses, not arrays
        session.run_with_iobinding(binding)
        return (results["y"],)

    return call


def _model(helper: Any, work: Work, kind: str, num_states: int) -> Any:
    from onnx import TensorProto, checker, numpy_helper

    node, order, attributes = NODES[kind]
    (steps, rows, size), cell = work.inputs.shape, work.cell

    def gates(tensor: Tensor) -> Tensor:
        parts = tensor.detach().chunk(len(order))
        return torch.cat([parts[k] for k in order])

    weights = {
        "W": gates(cell.W),
        "R": gates(cell.U),
        "B": torch.cat([gates(cell.b), gates(cell.b_U)]),
    }
    states, following = [f"s{k}" for k in range(num_states)], [f"n{k}" for k in range(num_states)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(node, ["x", "W", "R", "B", "", *states], ["y", *following], hidden_size=size, **attributes)],
        "layer",
        [
            value("x", TensorProto.FLOAT, [steps, rows, size]),
            *(value(name, TensorProto.FLOAT, [1, rows, size]) for name in states),
        ],
        [
            value("y", TensorProto.FLOAT, [steps, 1, rows, size]),
            *(value(name, TensorProto.FLOAT, [1, rows, size]) for name in following),
        ],
        [numpy_helper.from_array(weight.unsqueeze(0).numpy(), name) for name, weight in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model)
    return model
