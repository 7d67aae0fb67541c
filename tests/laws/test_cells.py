"""Every cell keeps every law, and a wrong engine is found out."""

from __future__ import annotations

import itertools
import sys
from functools import partial

import pytest
import torch
from kernel_cases import BOX, DTYPES, FLOAT32, FLOAT64

from recurra.cells import CELLS, GRU, LSTM, Elman, MogrifierLSTM
from recurra.engine import library, scan
from recurra.testing import check_cell
from recurra.testing import gradient_laws as g

INPUTS, UNITS = 3, 5  # those of the tests of compiled loops, which have compiled most of it then, or will find it
VARIANTS = ["jordan-relu", "lstm-projected", "lstm-no-bias", "slstm-4-heads", "sru-square", "rglru-square"]
IN_BOTH_TYPES = {"rnn-relu", "lstm", "indrnn", "sru"}  # of the others, float32 is checked by `-m slow`

projections = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


def in_types(names):
    """Each name in float64, and in float32, which adds programs to compile and no equation."""
    for name in names:
        yield name, FLOAT64
        yield pytest.param(name, FLOAT32, marks=[] if name in IN_BOTH_TYPES else pytest.mark.slow)


def name_of(value):
    return value if isinstance(value, str) else str(value).removeprefix("torch.")


@pytest.mark.parametrize(
    ("name", "dtype"), [*in_types(name for name in CELLS if name != "lstm-mogrifier")], ids=name_of
)
def test_cell_keeps_every_law(name, dtype):
    check_cell(CELLS[name], input_size=INPUTS, hidden_size=UNITS, dtype=dtype)


ROUNDS = {"2": {"rounds": 2}, "5": {}, "2-low-rank": {"rounds": 2, "rank": 1}}


@pytest.mark.parametrize(
    ("rounds", "dtype"),
    [
        pytest.param(name, dtype, marks=[] if (name, dtype) == ("2", FLOAT64) else pytest.mark.slow)
        for name, dtype in itertools.product(ROUNDS, DTYPES)
    ],
    ids=name_of,
)
def test_mogrifier_keeps_every_law(rounds, dtype):
    """One round changes x by h, the next h by x; the same again takes long to compile and adds nothing."""
    check_cell(partial(MogrifierLSTM, **ROUNDS[rounds]), input_size=INPUTS, hidden_size=UNITS, dtype=dtype)


@projections
@pytest.mark.parametrize(("name", "dtype"), [*in_types(VARIANTS)], ids=name_of)
def test_variant_keeps_every_law(name, dtype):
    inputs = UNITS if name.endswith("-square") else INPUTS
    check_cell(BOX[name], input_size=inputs, hidden_size=UNITS, examples=5, dtype=dtype)


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
