"""The gates of any cell: the sigmoids that its step computes, recorded while it computes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recurra import cells
from recurra.layers import Zoneout

__all__ = ["Gate", "record_gates"]

aten = torch.ops.aten

Gate = tuple[str, Tensor]
"""A name and values (N, units) in 0 … 1."""

Names = tuple[str | None, ...]

LSTM: Names = ("forget", "input", "output")
NAMES: dict[type[Any], Names] = {
    cells.LSTM: LSTM,
    cells.ProjectedLSTM: LSTM,
    cells.LayerNormLSTM: LSTM,
    cells.PeepholeLSTM: LSTM,
    cells.CoupledLSTM: ("forget", "output"),
    cells.GRU: ("reset", "update"),
    cells.OriginalGRU: ("reset", "update"),
    cells.LayerNormGRU: ("reset", "update"),
    cells.MGU: ("forget",),
    cells.MinGRU: ("update", None),
    cells.MinLSTM: ("forget", None),
    cells.SRU: ("forget", "highway"),
    cells.UGRNN: ("update",),
    cells.SLSTM: ("output",),
    cells.RGLRU: ("recurrence", "input"),
}
"""Gates in the order in which the step of a cell computes them; None for a sigmoid that gates nothing."""


class _Sigmoids(TorchDispatchMode):
    """Within it, `found` collects the results of sigmoids, however called, and `has_tanh` is set by a tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []
        self.has_tanh = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in (aten.sigmoid, aten.sigmoid_, aten.hardsigmoid):
            self.found.append(result.detach().clone())  # the step may write over its own
        elif packet in (aten.tanh, aten.tanh_, aten.hardtanh):
            self.has_tanh = True
        return result


@torch.no_grad()
def record_gates(cell: Any, x: Tensor, state: Any) -> tuple[list[Gate], bool]:
    """Return the gates of one step from many states at once, and whether the step computes a tanh.

    Args:
        x: (N, I) inputs, any mixture of times.
        state: of N rows.
    Returns: gates in the order of computation. A cell of the box has its own names; another's are "gate 1", "gate 2".
    """
    with _Sigmoids() as sigmoids:
        cell.step(x, state)
    rows = len(x)
    found = [gate.reshape(rows, -1) for gate in sigmoids.found if gate.ndim > 1 and len(gate) == rows]
    cell = cell.cell if isinstance(cell, Zoneout) else cell
    names = _names(cell, len(found))
    if isinstance(cell, cells.RGLRU) and len(found) == 1 and len(names) == 2:
        found = list(found[0].chunk(2, -1))  # one sigmoid of both
    if len(names) != len(found):
        names = tuple(f"gate {n}" for n in range(1, len(found) + 1))
    return [(name, gate) for name, gate in zip(names, found, strict=True) if name is not None], sigmoids.has_tanh


def _names(cell: Any, count: int) -> Names:
    """Names of a cell's sigmoids; a subclass with a step of its own may compute others."""
    step = getattr(type(cell), "step", None)
    if isinstance(cell, cells.MogrifierLSTM) and step is cells.MogrifierLSTM.step:
        return (*(f"mogrifier {k}" for k in range(1, count - 2)), *LSTM)
    for kind, names in NAMES.items():
        if isinstance(cell, kind) and step is kind.step:
            return names
    return ()
