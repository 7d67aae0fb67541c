"""The framework's own kernels (oneDNN on a CPU, cuDNN on a GPU) for the cells that have them.

A kernel stands for a step function: it is chosen when the cell's ``step`` *is* that function, whatever the cell's class
is called, so a subclass with a step of its own never gets a kernel that computes something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.cells.elman import Elman, ElmanState
from recurra.cells.gru import GRU, GRUState
from recurra.cells.lstm import LSTM, LSTMState
from recurra.cells.lstm_projected import ProjectedLSTM
from recurra.engine.gate import scale_gradient
from recurra.state import map_leaves, select
from recurra.state import reset as reset_rows

__all__ = ["Kernel", "find_kernel", "run_kernel"]


class Kernel(NamedTuple):
    """A named function ``run(cell, inputs (T, B, I), state) -> (outputs (T, B, O), state)``."""

    name: str
    run: Callable[[Any, Tensor, Any], tuple[Tensor, Any]]


def find_kernel(cell: Any) -> Kernel | None:
    """Return the kernel that computes the cell's step, or None."""
    step = getattr(getattr(cell, "step", None), "__func__", None)
    if step is LSTM.step:
        return Kernel("lstm", _run_lstm)
    if step is ProjectedLSTM.step:
        return Kernel("lstm_projected", _run_lstm)
    if step is GRU.step:
        return Kernel("gru", _run_gru)
    if step is Elman.step and cell.phi in _ELMAN:
        return Kernel(f"rnn_{cell.phi.__name__}", _run_elman)
    return None


def run_kernel(
    kernel: Kernel,
    cell: Any,
    inputs: Tensor,
    state: Any,
    alive: Tensor | None = None,
    reset: Tensor | None = None,
    gate: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Run a kernel over time; arguments and results as `recurra.engine.loop.run_loop`.

    Kernels know neither ends, resets nor gates, so time is cut where a row starts afresh, ends or has its gradient
    scaled, and only rows that still run are computed in between.
    """
    if alive is None and reset is None and gate is None:
        return kernel.run(cell, inputs, state)
    rows = inputs.shape[1]
    pieces = []
    for start, stop in _quiet_spans(alive, reset, gate, inputs.shape[0]):
        if gate is not None:
            state = scale_gradient(state, gate[start])
        if reset is not None and reset[start].any():
            state = reset_rows(state, reset[start], cell.zero_state(rows))
        piece = inputs[start:stop]
        if alive is None or alive[start].all():
            outputs, state = kernel.run(cell, piece, state)
        elif not alive[start].any():
            outputs = inputs.new_zeros(stop - start, rows, cell.output_size)
        else:
            running = alive[start].nonzero().squeeze(1)
            some, moved = kernel.run(cell, piece.index_select(1, running), select(state, running))
            outputs = some.new_zeros(stop - start, rows, some.shape[-1]).index_copy(1, running, some)
            state = map_leaves(lambda old, new, at=running: old.index_copy(0, at, new), state, moved)
        pieces.append(outputs)
    return (pieces[0] if len(pieces) == 1 else torch.cat(pieces)), state


def _quiet_spans(
    alive: Tensor | None, reset: Tensor | None, gate: Tensor | None, steps: int
) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) between which no row starts afresh, ends or has its gradient scaled."""
    event = torch.zeros(steps, dtype=torch.bool)
    if reset is not None:
        event |= reset.any(dim=1).cpu()
    if gate is not None:
        event |= (gate != 1).any(dim=1).cpu()
    if alive is not None:
        event[1:] |= (alive[1:] != alive[:-1]).any(dim=1).cpu()
    starts = [0, *(t for t in event.nonzero().squeeze(1).tolist() if t)]
    yield from zip(starts, [*starts[1:], steps], strict=True)


def _weights(cell: Any) -> list[Tensor]:
    b, b_U, projection = cell.b, cell.b_U, getattr(cell, "P", None)
    if (b is None) != (b_U is None):  # kernels know both biases or neither
        b, b_U = (torch.zeros_like(b_U), b_U) if b is None else (b, torch.zeros_like(b))
    return [w for w in (cell.W, cell.U, b, b_U, projection) if w is not None]


def _flags(cell: Any) -> tuple[bool, int, float, bool, bool, bool]:
    # has_biases, num_layers, dropout, train, bidirectional, batch_first. `train` keeps what backward needs: that is
    # wanted whenever gradients are, so that gradients of a model in evaluation mode work with cuDNN too.
    return cell.b is not None or cell.b_U is not None, 1, 0.0, torch.is_grad_enabled(), False, False


def _run_lstm(cell: Any, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
    h, c = (leaf.unsqueeze(0).contiguous() for leaf in state)
    outputs, h, c = torch.lstm(inputs, (h, c), _weights(cell), *_flags(cell))
    return outputs, LSTMState(h.squeeze(0), c.squeeze(0))


def _run_gru(cell: Any, inputs: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
    outputs, h = torch.gru(inputs, state.h.unsqueeze(0).contiguous(), _weights(cell), *_flags(cell))
    return outputs, GRUState(h.squeeze(0))


_ELMAN: dict[Any, Callable[..., tuple[Tensor, Tensor]]] = {
    torch.tanh: torch.rnn_tanh,
    torch.relu: torch.rnn_relu,
}


def _run_elman(cell: Any, inputs: Tensor, state: ElmanState) -> tuple[Tensor, ElmanState]:
    outputs, h = _ELMAN[cell.phi](inputs, state.h.unsqueeze(0).contiguous(), _weights(cell), *_flags(cell))
    return outputs, ElmanState(h.squeeze(0))
