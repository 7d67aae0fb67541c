"""Recurra, as a user calls it: `recurra.nn` where there is a module, else `recurra.scan`."""

from __future__ import annotations

from collections.abc import Callable

import recurra.nn
from recurra.benchmarks.peers.torch_nn import call_of, call_of_layer
from recurra.benchmarks.work import Call, Work
from recurra.engine import scan
from recurra.errors import EngineError

__all__ = ["forced", "prepare"]


def prepare(work: Work) -> Call:
    """Run the layer as it comes: the engine chooses."""
    return call_of_layer(work, recurra.nn) or _scanned(work, "auto")


def forced(backend: str) -> Callable[[Work], Call | None]:
    """Return the `prepare` of one backend; it does not apply to a cell that the backend refuses."""

    def prepare(work: Work) -> Call | None:
        call = _scanned(work, backend)
        try:
            call()
        except EngineError:
            return None
        return call

    return prepare


def _scanned(work: Work, backend: str) -> Call:
    cell, state = work.cell, work.state
    return call_of(work, lambda inputs: scan(cell, inputs, state, backend=backend)[0], list(cell.parameters()))
