"""A loop as native functions: forward, forward for training, backward, each compiled when it is first needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, TypeVar

import torch

from recurra.engine.graphs.differentiate import Derivative, differentiate
from recurra.engine.graphs.graph import Graph, Node
from recurra.engine.graphs.masking import Masked
from recurra.engine.llvm.compiler import Program, compile_graph

__all__ = ["DTYPES", "Loop"]

S = TypeVar("S")

KEPT = 64  # scripts
DTYPES = {torch.float32: "float32", torch.float64: "float64"}


class Scripts:
    """The scripts of a loop by shape, the most recently used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, Any] = OrderedDict()

    def find(self, key: Hashable, write: Callable[[], S]) -> S:
        """Return the script of this key, written if it is not known."""
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known  # type: ignore[no-any-return]
        script = write()
        with self._lock:
            self._known[key] = script
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return script


class Loop:
    """The inside of a step as native functions, compiled when they are first needed.

    Args:
        fresh_has_gradient: does the state that rows are reset to depend on parameters?
    """

    def __init__(self, masked: Masked, dtype: torch.dtype, fresh_has_gradient: bool) -> None:
        self.masked = masked
        self.graph = masked.graph
        self.dtype = dtype
        constant = {n for n in (masked.reset, masked.alive, masked.gate) if n is not None}
        self.constant = constant if fresh_has_gradient else constant | set(masked.fresh)
        # a leaf of the next state that is emitted, too, is written once: its history is the array
        self.aliases = [_find(pieces, self.graph.next_carry) for pieces in self.graph.emits]
        self.written = [
            (n, sum(piece.channels for piece in pieces))
            for n, pieces in enumerate(self.graph.emits)
            if self.aliases[n] is None
        ]
        """(number, width) of each emit that is no leaf of the state."""
        self.scripts = Scripts()
        self._derivative: Derivative | None = None
        self._programs: dict[str, Program] = {}

    @property
    def derivative(self) -> Derivative:
        """The backward step."""
        if self._derivative is None:
            self._derivative = differentiate(self.graph, self.constant)
        return self._derivative

    def histories(self, trains: bool) -> frozenset[int]:
        """Leaves of the state of which every step is written."""
        aliased = {leaf for leaf in self.aliases if leaf is not None}
        return frozenset(aliased | set(self.derivative.histories) if trains else aliased)

    def forward(self, trains: bool) -> Program:
        """The native function of the forward pass; when it trains, it keeps what the backward pass reads."""
        name = "train" if trains else "infer"
        if name not in self._programs:
            emits = [pieces for pieces, leaf in zip(self.graph.emits, self.aliases, strict=True) if leaf is None]
            if trains and self.derivative.kept:
                emits.append(tuple(self.derivative.kept))
            graph = replace(self.graph, emits=emits)
            self._programs[name] = self._compile(graph, backward=False, histories=self.histories(trains))
        return self._programs[name]

    def backward(self) -> Program:
        """The native function of the backward pass."""
        if "backward" not in self._programs:
            graph = self.derivative.graph
            self._programs["backward"] = self._compile(graph, backward=True, histories=frozenset())
        return self._programs["backward"]

    def _compile(self, graph: Graph, *, backward: bool, histories: frozenset[int]) -> Program:
        return compile_graph(graph, DTYPES[self.dtype], backward=backward, histories=histories)


def _find(pieces: tuple[Node, ...], leaves: list[tuple[Node, ...]]) -> int | None:
    return leaves.index(pieces) if pieces in leaves else None
