"""An ONNX graph while it is written: nodes, numbers, inputs and outputs, by names that never meet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.errors import ConfigError
from recurra.libraries import need

__all__ = ["IR_VERSION", "OPSET", "Nodes"]

OPSET = 18
IR_VERSION = 8
"""Of the format itself: the first that knows the operator set."""

MOST_BYTES = 2**31 - 1
"""What a file of protocol buffers may hold."""

Shape = Sequence[int | str]


class Nodes:
    """A graph, or with a parent the body of one of its nodes, which sees all that the parent has.

    Results are named ``operator:number``, which no input is: their names hold no colon.
    """

    def __init__(self, parent: Nodes | None = None) -> None:
        self.helper = need("onnx").helper
        self._root: Nodes = self if parent is None else parent._root
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._numbers: dict[Any, str] = {}
        self._initializers: list[Any] = []
        self._count = 0

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return the name of its result, or names if there are several. An empty input is left out."""
        names = [self.name(operator) for _ in range(outputs)]
        self._nodes.append(self.helper.make_node(operator, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def number(self, value: Any, dtype: Any = np.float32) -> str:
        """Return the name of fixed numbers: equal ones are kept once, in the outermost graph."""
        array: NDArray[Any] = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        root = self._root
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in root._numbers:
            root._numbers[key] = root.name("number")
            root._initializers.append(need("onnx.numpy_helper").from_array(array, root._numbers[key]))
        return root._numbers[key]

    def integers(self, *values: int) -> str:
        """Return the name of fixed integers (n,), such as axes and shapes."""
        return self.number(values, np.int64)

    def input(self, name: str, shape: Shape, dtype: Any = np.float32) -> str:
        """Declare an input; sizes that are not fixed have names."""
        self._inputs.append(self._value(name, shape, dtype))
        return name

    def output(self, name: str, result: str, shape: Shape, dtype: Any = np.float32) -> None:
        """Declare an output, and what it is."""
        self._nodes.append(self.helper.make_node("Identity", [result], [name]))
        self._outputs.append(self._value(name, shape, dtype))

    def body(self, name: str) -> Any:
        """Return the graph of the body of a node."""
        return self.helper.make_graph(self._nodes, name, self._inputs, self._outputs)

    def model(self, name: str, metadata: Mapping[str, Any]) -> Any:
        """Return the whole, checked.

        Args:
            metadata: what is told of it, as JSON; texts stay as they are.
        Raises: ConfigError if it is larger than a file of this format can be.
        """
        onnx = need("onnx")
        graph = self.helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._initializers)
        opset = [self.helper.make_opsetid("", OPSET)]
        model = self.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="recurra")
        told = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
        self.helper.set_model_props(model, told)
        if model.ByteSize() > MOST_BYTES:
            raise ConfigError(f"an ONNX file holds at most 2 GiB, and this graph needs {model.ByteSize():,} bytes")
        onnx.checker.check_model(model, full_check=True)
        return model

    def name(self, kind: str) -> str:
        """Return a name that nothing else has."""
        self._root._count += 1
        return f"{kind}:{self._root._count}"

    def _value(self, name: str, shape: Shape, dtype: Any) -> Any:
        kind = self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.helper.make_tensor_value_info(name, kind, list(shape))
