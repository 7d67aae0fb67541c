"""One step of any cell: recorded by the engine as a graph of a few operations, and written node by node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.engine.capture.aten import LOWERINGS
from recurra.engine.capture.lowering import split
from recurra.engine.capture.recording import find_tensor, record, replay
from recurra.engine.graphs.graph import CannotCompileError, Graph, Node
from recurra.errors import ConfigError
from recurra.export.onnx.nodes import Nodes
from recurra.export.onnx.operations import OPERATORS

__all__ = ["Step", "record_step"]


class _Written(NamedTuple):
    """A result: (B, width), or (width,) if it is the same for all rows; width 1 stands for any number of channels."""

    name: str
    width: int
    by_row: bool


class Step:
    """A cell's step as a graph with its numbers.

    Args:
        graph: the step; its first stream is x (B, I), its carries the leaves of the state, rows flattened.
        vectors, weights: what it reads, matching the graph's.
        output_size: features O.
    """

    def __init__(
        self, graph: Graph, vectors: list[NDArray[Any]], weights: list[NDArray[Any]], output_size: int
    ) -> None:
        self.graph = graph
        self.vectors = vectors
        self.weights = weights
        self.output_size = output_size

    def write(self, n: Nodes, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Write the step's nodes: x (B, I) and leaves (B, width) -> output (B, O), the leaves after the step."""
        return _Writing(n, self, x, state).run()


def record_step(cell: Any, input_size: int) -> Step:
    """Record a cell's step for inputs (B, I) in single precision.

    Raises: ConfigError with the operation that stands in the way.
    """
    like = torch.zeros(1, 1, input_size)
    try:
        with torch.inference_mode(False), torch.no_grad():
            parts = split(record(cell, like, LOWERINGS), hoist=False)
            recording = parts.recording
            if parts.output is not None or any(s.number not in recording.inputs for s in parts.streams):
                raise CannotCompileError("a part of the step cannot stand inside the loop")
            known = {number: find_tensor(cell, path).detach() for number, path in recording.captured.items()}
            known.update((number, torch.tensor(value)) for number, value in recording.numbers.items())
            replay(parts.before, known, 1)
    except CannotCompileError as error:
        raise ConfigError(f"{type(cell).__name__} cannot be written as an ONNX graph: {error}") from error
    vectors = [_vector(known[number], shape) for number, shape in parts.vectors]
    weights = [known[number].numpy() for number in parts.weights]
    (output,) = parts.inside.emits
    return Step(parts.inside, vectors, weights, sum(piece.channels for piece in output))


def _vector(tensor: torch.Tensor, shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Return parameters in the shape of a row, flattened."""
    if shape:
        tensor = tensor.reshape([size for size in tensor.shape if size != 1]).expand(shape)
    return tensor.reshape(-1).numpy()


class _Writing:
    def __init__(self, n: Nodes, step: Step, x: str, state: Sequence[str]) -> None:
        self.n, self.step, self.x, self.state = n, step, x, state
        self.written: dict[Node, _Written] = {}
        self.products: dict[Any, tuple[str, int]] = {}
        self.columns: dict[Any, list[tuple[int, int]]] = defaultdict(list)

    def run(self) -> tuple[str, list[str]]:
        graph = self.step.graph
        nodes = graph.nodes()
        for node in nodes:
            if node.op == "product" and node.attributes[4] == 1:
                column = node.attributes[2]
                self.columns[_product_key(node)].append((column, column + node.channels))
        for node in nodes:
            self.written[node] = self._write(node)
        (output,) = graph.emits
        return self._join(output), [self._join(pieces) for pieces in graph.next_carry]

    def _write(self, node: Node) -> _Written:
        n, inputs = self.n, [self.written[i] for i in node.inputs]
        if node.op == "constant":
            return _Written(n.number(node.attributes[0]), 1, False)
        if node.op == "channel":
            number, column = node.attributes
            return _Written(n.number(self.step.vectors[number][column : column + node.channels]), node.channels, False)
        if node.op in ("stream", "carry"):
            number, column = node.attributes
            whole = self.x if node.op == "stream" else self.state[number]
            given = self.step.graph.streams[number].width if node.op == "stream" else self.step.graph.carries[number]
            return _Written(self._columns(whole, given, column, column + node.channels), node.channels, True)
        if node.op == "product":
            return _Written(self._product(node), node.channels, True)
        if node.op in ("total", "highest"):
            operator = "ReduceSum" if node.op == "total" else "ReduceMax"
            (row,) = node.inputs
            return _Written(n.add(operator, self._full(row), n.integers(-1), keepdims=1), 1, True)
        attributes = () if node.op in ("copy", "normalised") else node.attributes
        name = OPERATORS[node.op](n, *(i.name for i in inputs), *attributes)
        return _Written(name, max(i.width for i in inputs), any(i.by_row for i in inputs))

    def _columns(self, whole: str, width: int, start: int, stop: int) -> str:
        if (start, stop) == (0, width):
            return whole
        n = self.n
        return str(n.add("Slice", whole, n.integers(start), n.integers(stop), n.integers(1)))

    def _product(self, node: Node) -> str:
        """Multiply a row by a matrix; what several products of the same row read of one is multiplied once."""
        n, (number, transposed, column, rows, blocks) = self.n, node.attributes
        matrix = self.step.weights[number]
        matrix = matrix.reshape(blocks, *matrix.shape[-2:])
        matrix = matrix.swapaxes(1, 2) if transposed else matrix
        taken = np.concatenate(
            [np.arange(row, row + i.channels // blocks) for i, row in zip(node.inputs, rows, strict=True)]
        )
        if blocks > 1:
            matrix = matrix[:, taken, column : column + node.channels // blocks]
            x = n.add("Reshape", self._join(node.inputs), n.integers(0, blocks, len(taken)))
            result = n.add("MatMul", n.add("Transpose", x, perm=[1, 0, 2]), n.number(matrix))
            return str(n.add("Reshape", n.add("Transpose", result, perm=[1, 0, 2]), n.integers(0, node.channels)))
        key = _product_key(node)
        first, last = min(start for start, _ in self.columns[key]), max(stop for _, stop in self.columns[key])
        if key not in self.products:
            self.products[key] = n.add("MatMul", self._join(node.inputs), n.number(matrix[0, taken, first:last])), first
        return self._columns(self.products[key][0], last - first, column - first, column - first + node.channels)

    def _join(self, pieces: Sequence[Node]) -> str:
        """Return pieces side by side: (B, all their channels)."""
        names = [self._full(piece) for piece in pieces]
        return names[0] if len(names) == 1 else str(self.n.add("Concat", *names, axis=-1))

    def _full(self, node: Node) -> str:
        """Return a node as (B, channels), repeated where it stands for several."""
        n, found = self.n, self.written[node]
        if found.by_row and found.width == node.channels:
            return found.name
        rows = n.add("Shape", self.x, start=0, end=1)
        return str(n.add("Expand", found.name, n.add("Concat", rows, n.integers(node.channels), axis=0)))


def _product_key(node: Node) -> Any:
    number, transposed, _, rows, _ = node.attributes
    return number, transposed, rows, tuple(i.index for i in node.inputs)
