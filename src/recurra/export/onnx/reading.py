"""`from_onnx`: the cells of a graph's RNN, LSTM and GRU nodes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra import cells
from recurra.errors import ConfigError, RunError
from recurra.export.gates import GRU_OURS, GRU_ZRH, LSTM_IOFC, LSTM_OURS, reorder
from recurra.layers import Bidirectional, Stack
from recurra.libraries import need

__all__ = ["from_onnx"]

GATES = {"RNN": ("h", "h"), "LSTM": (LSTM_IOFC, LSTM_OURS), "GRU": (GRU_ZRH, GRU_OURS)}
"""Order there, and here."""

USUAL = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
"""Activations that are not told."""


def from_onnx(path: str | os.PathLike[str]) -> Stack | Bidirectional:
    """Read the recurrent layers of an ONNX file: its RNN, LSTM and GRU nodes, in the order in which they stand.

    Of what is between them, and before and after, nothing is read: that each layer reads the one below is for you to
    know. A GRU with ``linear_before_reset`` becomes `GRU`, one without `OriginalGRU`; an LSTM with peepholes
    `PeepholeLSTM`.

    Returns: a stack; or layers that read both ways, of nodes with both directions, or of two nodes that read the same.
    Raises: RunError for a file that cannot be read; ConfigError for one without such nodes, and for what our cells do
        not compute: other activations, clipping, coupled gates, weights that the graph computes.
    """
    path = Path(path)
    graph = _read(path)
    numbers = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            numbers.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    nodes = [_Layer(node, numbers) for node in graph.node if node.op_type in GATES]
    if not nodes:
        raise ConfigError(f"{path} has no RNN, LSTM or GRU node; what is made of other operators is not read")
    return _joined(nodes, path)


def _read(path: Path) -> Any:
    onnx = need("onnx")
    try:
        return onnx.load_model_from_string(path.read_bytes()).graph
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # protobuf's own, of several classes
        raise RunError(f"{path} is damaged, or no ONNX file: {' '.join(str(error).split())[:200]}") from error


class _Layer:
    """A node: its cells, one for each direction, and what it reads."""

    def __init__(self, node: Any, numbers: dict[str, Any]) -> None:
        attribute = need("onnx").helper.get_attribute_value
        self.node, self.numbers = node, numbers
        self.name = f"the {node.op_type} node '{node.name or node.output[0]}'"
        self.told = {each.name: attribute(each) for each in node.attribute}
        self.reads = node.input[0]
        self.direction = self._text("direction", "forward")
        self._refuse()
        count = 2 if self.direction == "bidirectional" else 1
        weights = self._weights(count)
        self.cells = [self._cell(n, *weights) for n in range(count)]

    def _refuse(self) -> None:
        usual = USUAL[self.node.op_type]
        found = [a.decode() if isinstance(a, bytes) else str(a) for a in self.told.get("activations", [])] or usual
        count = len(usual)
        groups = [[name.lower() for name in found[i : i + count]] for i in range(0, len(found), count)]
        allowed = [["tanh"], ["relu"]] if self.node.op_type == "RNN" else [[name.lower() for name in usual]]
        if any(group not in allowed for group in groups) or any(group != groups[0] for group in groups):
            raise ConfigError(f"{self.name} has activations {found}, which no cell here has")
        self.activation = groups[0][0]
        for name in ("clip", "input_forget"):
            if self.told.get(name):
                raise ConfigError(f"{self.name} has {name}={self.told[name]}, which no cell here does")

    def _text(self, name: str, default: str) -> str:
        found = self.told.get(name, default)
        return found.decode() if isinstance(found, bytes) else str(found)

    def _weight(self, place: int) -> NDArray[Any] | None:
        """Return an input of the node, if it is there: fixed numbers."""
        name = self.node.input[place] if place < len(self.node.input) else ""
        if not name:
            return None
        if name not in self.numbers:
            raise ConfigError(f"{self.name} has weights '{name}' that the graph computes; fold its constants first")
        try:
            array: NDArray[Any] = need("onnx.numpy_helper").to_array(self.numbers[name])
        except Exception as error:  # numbers in a file beside this one, or of a wrong size
            raise RunError(f"{self.name} has weights '{name}' that cannot be read: {error}") from error
        return array

    def _weights(self, count: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """Return W, R, B and P of so many directions, whose shapes fit each other."""
        W, R, B = (self._weight(place) for place in (1, 2, 3))
        P = self._weight(7) if self.node.op_type == "LSTM" else None
        G = len(GATES[self.node.op_type][0])
        if W is None or R is None or W.ndim != 3 or R.ndim != 3 or not (W.size and R.size):
            raise RunError(f"{self.name} has no weights (directions, {G} H, I) and (directions, {G} H, H)")
        H = R.shape[2]
        wanted = [(W, (count, G * H, W.shape[2])), (R, (count, G * H, H)), (B, (count, 2 * G * H)), (P, (count, 3 * H))]
        for array, shape in wanted:
            if array is not None and (array.shape != shape or array.dtype.kind != "f"):
                raise RunError(f"{self.name} has weights {array.shape} {array.dtype} where {shape} fits the others")
        return W, R, B, P

    def _cell(
        self, n: int, W: NDArray[Any], R: NDArray[Any], B: NDArray[Any] | None, P: NDArray[Any] | None
    ) -> cells.Cell:
        """Return the cell of the nth direction."""
        given, wanted = GATES[self.node.op_type]
        hidden, size = R.shape[2], W.shape[2]
        cell = self._make(size, hidden, B is not None, P is not None, torch.from_numpy(np.zeros(0, W.dtype)).dtype)

        def gates(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(reorder(array, given, wanted)))

        with torch.no_grad():
            cell.W.copy_(gates(W[n]))
            cell.U.copy_(gates(R[n]))
            if B is not None and cell.b is not None:
                _set_biases(cell, *(gates(half) for half in np.split(B[n], 2)))
            if isinstance(cell, cells.PeepholeLSTM) and P is not None:
                cell.p.copy_(torch.from_numpy(reorder(P[n], "iof", "ifo")))
        return cell

    def _make(self, inputs: int, hidden: int, bias: bool, peepholes: bool, dtype: torch.dtype) -> cells.Cell:
        options: dict[str, Any] = {"bias": bias, "dtype": dtype}
        with torch.random.fork_rng(devices=[]):
            if self.node.op_type == "RNN":
                return cells.Elman(inputs, hidden, nonlinearity=self.activation, **options)
            if self.node.op_type == "LSTM":
                return (cells.PeepholeLSTM if peepholes else cells.LSTM)(inputs, hidden, **options)
            kind = cells.GRU if self.told.get("linear_before_reset", 0) else cells.OriginalGRU
            return kind(inputs, hidden, **options)


def _set_biases(cell: cells.Cell, first: Tensor, second: Tensor) -> None:
    """Set both biases, or their sum where a cell has one."""
    assert cell.b is not None
    other = cell._parameters.get("bias_hh_l0")
    if other is not None:
        other.copy_(second)
        cell.b.copy_(first)
    else:
        cell.b.copy_(first + second if bool((second != 0).any()) else first)


def _joined(nodes: list[_Layer], path: Path) -> Stack | Bidirectional:
    """Put layers on top of each other."""
    kinds = {node.direction for node in nodes}
    if kinds == {"forward"}:
        return Stack([node.cells[0] for node in nodes])
    if kinds == {"bidirectional"}:
        return Bidirectional([(node.cells[0], node.cells[1]) for node in nodes])
    pairs = list(zip(nodes[::2], nodes[1::2], strict=False))
    alike = all(a.direction == "forward" and b.direction == "reverse" and a.reads == b.reads for a, b in pairs)
    if len(nodes) % 2 or not alike:
        raise ConfigError(f"{path} has nodes of directions {sorted(kinds)} that are no layers that read both ways")
    return Bidirectional([(a.cells[0], b.cells[0]) for a, b in pairs])
