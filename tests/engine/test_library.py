"""Kernels stand for step functions: they are taken for what a step is, never for what a class is called."""

from __future__ import annotations

import pytest
import torch

from recurra.cells import GRU, IRNN, LSTM, Elman, Jordan, MinGRU, OriginalGRU, ProjectedLSTM
from recurra.engine import explain, scan
from recurra.engine.library import find_kernel
from recurra.errors import EngineError
from recurra.testing import TOLERANCES


class Renamed(LSTM):
    """Has the LSTM's own step, so it has its kernel."""


class OwnStep(LSTM):
    def step(self, x, state):
        h, state = super().step(x, state)
        return 2 * h, state


class OwnActivation(Elman):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.phi = torch.sigmoid


def impostor():
    """An unrelated cell that goes by the name of one with a kernel."""
    return type("LSTM", (Jordan,), {"step": lambda self, x, state: Jordan.step(self, x, state)})(3, 4)


@pytest.mark.parametrize(
    ("cell", "kernel"),
    [
        (LSTM(3, 4), "lstm"),
        (Renamed(3, 4), "lstm"),
        (ProjectedLSTM(3, 4, 2), "lstm_projected"),
        (GRU(3, 4), "gru"),
        (Elman(3, 4), "rnn_tanh"),
        (IRNN(3, 4), "rnn_relu"),
    ],
)
def test_a_step_with_a_kernel_gets_it(cell, kernel):
    assert find_kernel(cell).name == kernel
    found = explain(cell, backend="library")
    assert found.path == "library"
    assert f"'{kernel}'" in found.reason


@pytest.mark.parametrize(
    "cell",
    [OwnStep(3, 4), OwnActivation(3, 4), OriginalGRU(3, 4), MinGRU(3, 4), Jordan(3, 4), impostor()],
    ids=lambda cell: type(cell).__name__,
)
def test_a_step_without_one_is_refused(cell):
    assert find_kernel(cell) is None
    with pytest.raises(EngineError, match="no kernel computes the step of"):
        scan(cell, torch.randn(5, 2, 3), backend="library")


def test_a_step_put_on_one_cell_is_the_step_that_runs():
    cell = LSTM(3, 4)
    cell.step = lambda x, state: (x, state)
    x = torch.randn(5, 2, 3)
    assert find_kernel(cell) is None
    assert torch.equal(scan(cell, x)[0], x)


def test_the_explanation_names_the_kernel():
    assert str(explain(LSTM(3, 4), backend="library")) == "LSTM: library (oneDNN's kernel 'lstm' computes it)"
    assert (
        str(explain(LSTM(3, 4).double(), backend="library")) == "LSTM: library (torch's CPU kernel 'lstm' computes it)"
    )


@pytest.mark.parametrize("missing", ["bias_ih_l0", "bias_hh_l0"])
@pytest.mark.parametrize("cell", [LSTM(3, 4), GRU(3, 4), Elman(3, 4)], ids=["lstm", "gru", "rnn"])
def test_a_cell_with_one_of_the_two_biases(cell, missing):
    view, x = cell.bind(**{missing: None}), torch.randn(5, 2, 3)
    found, expected = scan(view, x, backend="library"), scan(view, x, backend="loop")
    torch.testing.assert_close(found, expected, **TOLERANCES[torch.float32])


@pytest.mark.parametrize("cell", [LSTM(3, 4), GRU(3, 4), Elman(3, 4)], ids=["lstm", "gru", "rnn"])
def test_gradients_in_evaluation_mode(cell):
    x = torch.randn(5, 2, 3, requires_grad=True)
    scan(cell.eval(), x, backend="library")[0].sum().backward()
    assert x.grad.any()
