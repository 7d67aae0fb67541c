"""Every cell keeps every law, and a wrong engine is found out."""

from __future__ import annotations

import sys

import pytest
import torch

from recurra.cells import CELLS, GRU, LSTM, RGLRU, SLSTM, SRU, Elman, Jordan, MogrifierLSTM, ProjectedLSTM
from recurra.engine import library, scan
from recurra.testing import check_cell
from recurra.testing import gradient_laws as g

DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CELLS)
def test_cell_keeps_every_law(name, dtype):
    check_cell(CELLS[name], input_size=3, dtype=dtype)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "make",
    [
        lambda i, h: Jordan(i, h, 2, output_nonlinearity="relu"),
        lambda i, h: ProjectedLSTM(i, h, 2),
        lambda i, h: LSTM(i, h, bias=False),
        lambda i, h: MogrifierLSTM(i, h, rounds=2, rank=1),
        lambda i, h: SLSTM(i, h, heads=2),
        lambda i, h: SRU(i, i),
        lambda i, h: RGLRU(i, i),
    ],
    ids=["jordan-2", "projected", "no-bias", "mogrifier-low-rank", "slstm-heads", "sru-square", "rglru-square"],
)
def test_variant_keeps_every_law(make, dtype):
    check_cell(make, input_size=2, examples=5, dtype=dtype)


def drifted(cell, inputs, state):
    """A kernel that leaves out the last step's change of the state."""
    outputs, _ = scan(cell, inputs, state, backend="loop")
    return outputs, state


def silent_on_final_state(cell, inputs, state):
    """A kernel that drops the gradient of the final state."""
    outputs, final = scan(cell, inputs, state, backend="loop")
    return outputs, type(final)(*(leaf.detach() for leaf in final))


@pytest.mark.parametrize("kernel", [drifted, silent_on_final_state])
@pytest.mark.parametrize(("cell", "name"), [(LSTM, "_run_lstm"), (GRU, "_run_gru"), (Elman, "_run_elman")])
def test_wrong_kernel_is_found_out(monkeypatch, cell, name, kernel):
    monkeypatch.setattr(library, name, kernel)
    with pytest.raises(AssertionError, match="every backend gives the same"):
        check_cell(cell, input_size=3, laws=[g.check_backends])


def test_wrong_truncation_is_found_out(monkeypatch):
    monkeypatch.setattr(sys.modules["recurra.engine.backprop"], "detach", lambda state: state)
    with pytest.raises(AssertionError, match="truncation cuts gradients"):
        check_cell(Elman, input_size=3, laws=[g.check_truncation])


def test_a_given_module_is_left_as_it_was():
    cell = LSTM(3, 4)
    before = {name: value.clone() for name, value in cell.state_dict().items()}
    check_cell(cell, input_size=3, examples=1)
    assert all(torch.equal(before[name], value) for name, value in cell.state_dict().items())
    assert cell.W.dtype is torch.float32


def test_without_hypothesis_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match=r"pip install 'recurra\[testing\]'"):
        check_cell(LSTM, input_size=3)
