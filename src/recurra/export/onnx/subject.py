"""What is exported: how its graphs are written, and what they must give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.export.onnx.layers import leaves_of, write_ends, write_sequence, write_step
from recurra.export.onnx.nodes import Nodes
from recurra.state import from_named

__all__ = ["LENGTHS", "Subject", "name_of_leaf"]

LENGTHS = "lengths"
"""Name of the input that says where rows end."""


def name_of_leaf(path: str, after: bool) -> str:
    """Return the name of a leaf of the state among inputs, or `after` a step among outputs."""
    name = "next_state" if after else "state"
    return f"{name}.{path}" if path else name


class Subject(ABC):
    """Something that is exported.

    Attributes:
        module: the module itself.
        kind: what it is, for the metadata.
        has_step: can it be taken step by step?
        lengths: does its sequence also read where rows end?
        leaves: a fresh row of the state, by path; nothing where states are not carried.
        source, result: names of the input and of the output.
        dtype: of the input.
        width: features that the recurrence reads.
        output_size: features of the output.
    """

    kind: str
    has_step = True
    source, result = "input", "output"
    dtype: Any = np.float32
    width: int
    output_size: int

    def __init__(self, module: Any, recurrence: Any, lengths: bool) -> None:
        self.module = module
        self.recurrence = recurrence
        self.lengths = lengths
        self.leaves = {} if recurrence is None else leaves_of(recurrence)

    def metadata(self) -> dict[str, Any]:
        """Return what a reader of the file is told: sizes and the start of the state, version, cell."""
        leaves = {
            path: {"shape": list(leaf.shape[1:]), "start": _start(leaf), "name": name_of_leaf(path, False)}
            for path, leaf in self.leaves.items()
        }
        return {"recurra_version": version("recurra"), "kind": self.kind, "cell": self.cell, "state": leaves}

    @property
    def cell(self) -> str:
        """Name the cell, or the cells from the bottom up."""
        cells: Any = getattr(self.recurrence, "cells", [self.recurrence])
        return ", ".join(dict.fromkeys(type(cell).__name__ for cell in cells))

    def step(self) -> Nodes:
        """Write the graph of one step: input (B, ...) and leaves (B, ...) -> output (B, ...), leaves after it."""
        n = Nodes()
        x = self.read(n, n.input(self.source, ["batch", *self.row], self.dtype))
        state = self._states(n)
        output, final = write_step(n, self.recurrence, x, state, self.width)
        self._results(n, self.head(n, output), ["batch"], final)
        return n

    def sequence(self) -> Nodes:
        """Write the graph of a sequence: input (T, B, ...), leaves, lengths (B,) -> output (T, B, ...), leaves."""
        n = Nodes()
        x = self.read(n, n.input(self.source, ["time", "batch", *self.row], self.dtype))
        state = self._states(n)
        ends = write_ends(n, n.input(LENGTHS, ["batch"], np.int64), x) if self.lengths else None
        output, final = write_sequence(n, self.recurrence, x, state, self.width, ends)
        self._results(n, self.head(n, output), ["time", "batch"], final)
        return n

    def _states(self, n: Nodes) -> list[str]:
        leaves = self.leaves.items()
        return [n.input(name_of_leaf(path, False), ["batch", *leaf.shape[1:]]) for path, leaf in leaves]

    def _results(self, n: Nodes, output: str, axes: list[str], final: list[str]) -> None:
        n.output(self.result, output, [*axes, self.output_size])
        for (path, leaf), after in zip(self.leaves.items(), final, strict=True):
            n.output(name_of_leaf(path, True), after, ["batch", *leaf.shape[1:]])

    @property
    def row(self) -> list[int]:
        """Sizes of an input beyond time and batch."""
        return [self.width]

    def read(self, n: Nodes, x: str) -> str:
        """Write what stands before the recurrence."""
        return x

    def head(self, n: Nodes, x: str) -> str:
        """Write what stands after it."""
        return x

    @abstractmethod
    def sample(self, generator: np.random.Generator, steps: int, rows: int) -> NDArray[Any]:
        """Draw an input (T, B, ...)."""

    @abstractmethod
    def compute(self, x: NDArray[Any], state: dict[str, NDArray[Any]], lengths: Tensor | None) -> list[Tensor]:
        """Return what the module itself makes of a sequence: the output, and the leaves after it."""

    def _given(self, state: dict[str, NDArray[Any]], rows: int) -> Any:
        leaves = {path: torch.from_numpy(leaf) for path, leaf in state.items()}
        return from_named(self.recurrence.zero_state(rows), leaves)


def _start(leaf: Tensor) -> float | list[float]:
    """Return what a leaf starts from: a number, or all of them, flattened."""
    numbers = leaf.flatten().tolist()
    return float(numbers[0]) if numbers and all(number == numbers[0] for number in numbers) else numbers
