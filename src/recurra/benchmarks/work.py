"""What is measured: a cell, a shape, a mode, and the numbers that every contender computes with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from recurra.cells import GRU, LSTM, Elman, LayerNormLSTM, make_cell
from recurra.engine import scan
from recurra.errors import RecurraError
from recurra.state import map_leaves

__all__ = ["MODES", "Call", "Case", "Unavailable", "Work", "count_products", "kind_of"]

MODES = ("train", "infer", "step")
TOLERANCE = 1e-3
SEED = 0

Call = Callable[[], Sequence[Any]]
"""One unit of work to time. Returns its outputs (T, B, O), in training then the gradient of its inputs."""


class Unavailable(RecurraError):
    """A contender that could take part but cannot run here; the message says what to do."""


@dataclass(frozen=True)
class Case:
    """One thing to measure: inputs (steps, rows, size) through a layer of `size` units.

    Args:
        mode: "train" is forward and backward with the gradients of inputs and all parameters, "infer" is forward alone,
            "step" is one step of one or more rows that continues from a state.
    """

    cell: str
    mode: str
    rows: int
    steps: int
    size: int

    def __str__(self) -> str:
        return f"{self.cell} {self.mode} {self.rows},{self.steps},{self.size}"


class Work(NamedTuple):
    """A case with its numbers: every contender gets the same weights, inputs and gradient of the outputs."""

    case: Case
    cell: Any
    inputs: Tensor
    """(T, B, H)"""
    state: Any
    """State to start from: fresh, but in the mode "step"."""
    cotangent: Tensor
    """Gradient of the outputs, (T, B, O): of noise, so that nobody gains by knowing it beforehand."""
    expected: tuple[Tensor, ...]
    """What a call returns, by the reference loop."""

    @classmethod
    def build(cls, case: Case) -> Work:
        """Draw the numbers of a case and compute what is right.

        Raises: ConfigError for a cell that cannot be built.
        """
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            cell = make_cell(case.cell, case.size, case.size)
            inputs = torch.randn(case.steps, case.rows, case.size)
            state = cell.zero_state(case.rows)
            if case.mode == "step":
                state = map_leaves(lambda leaf: 0.5 * torch.randn_like(leaf), state)
            train = case.mode == "train"
            inputs.requires_grad_(train)
            with torch.set_grad_enabled(train):
                outputs, _ = scan(cell, inputs, state, backend="loop")
            cotangent = torch.randn_like(outputs)
        gradient = torch.autograd.grad(outputs, [inputs], cotangent) if train else ()
        return cls(case, cell, inputs.detach(), state, cotangent, (outputs.detach(), *gradient))

    def error(self, returned: Sequence[Any]) -> float:
        """Return the largest difference of what a call returned from what is right, in units of the largest number."""
        errors = []
        for found, right in zip(returned, self.expected, strict=False):  # further gradients may follow
            reference = right.numpy()
            difference = np.abs(np.asarray(found).reshape(reference.shape) - reference).max()
            errors.append(difference / max(1.0, np.abs(reference).max()))
        return float(np.max(errors))  # NumPy's, which never loses a not-a-number

    def agrees(self, error: float) -> bool:
        """Is an error one of rounding? Not-a-number never is."""
        return error <= TOLERANCE


def kind_of(cell: Any) -> str | None:
    """Return by which equations a cell steps, as far as other libraries know them: "lstm", "gru", "rnn_tanh", ...

    A cell is known by its step function, whatever it is called and whatever class inherits it.
    """
    step = getattr(type(cell), "step", None)
    if step is Elman.step:
        name: str = cell.phi.__name__
        return f"rnn_{name}"
    known: dict[Any, str] = {LSTM.step: "lstm", GRU.step: "gru", LayerNormLSTM.step: "lstm_layernorm"}
    return known.get(step)


def count_products(work: Work) -> int:
    """Return the operations of all matrix products: two per multiply-add, forward once, backward twice.

    Pointwise work, normalisation and sums are not counted, so the rate is a lower bound of what the processor does.
    """
    x, case = work.inputs[0], work.case
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work.cell.step(x, work.state)
    per_step: int = counter.get_total_flops()
    return per_step * case.steps * (3 if case.mode == "train" else 1)
