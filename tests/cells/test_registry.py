"""Cells by name, and a user's own from a file."""

from __future__ import annotations

import sys

import pytest
import torch

from recurra.cells import CELLS, LSTM, Elman, import_cell, make_cell
from recurra.engine import scan
from recurra.errors import ConfigError

SOURCE = """
import torch

class Sum(torch.nn.Module):
    def __init__(self, input_size, hidden_size, scale=1.0):
        super().__init__()
        self.scale = scale

    def zero_state(self, batch):
        return torch.zeros(batch, 1)

    def step(self, x, state):
        state = state + self.scale * x.sum(1, keepdim=True)
        return state, state

class NoStep(torch.nn.Module):
    def zero_state(self, batch):
        return torch.zeros(batch, 1)

class NoZeroState(torch.nn.Module):
    def step(self, x, state):
        return x, state

def function():
    pass
"""


@pytest.fixture
def _own_module(tmp_path, monkeypatch):
    (tmp_path / "my_cells_here.py").write_text(SOURCE)
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "not_python.py").write_text("class Sum(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield
    for name in ("my_cells_here", "needs_more", "not_python"):
        sys.modules.pop(name, None)


def test_names():
    assert list(CELLS) == [
        "gru", "gru-layernorm", "gru-original", "indrnn", "irnn", "jordan", "lstm",
        "lstm-coupled", "lstm-layernorm", "lstm-mogrifier", "lstm-peephole", "mgu", "mingru", "minlstm",
        "rglru", "rnn", "rnn-relu", "slstm", "sru", "ugrnn",
    ]  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_every_name_makes_a_cell_that_runs(name):
    cell = make_cell(name, 3, 4)
    outputs, _ = scan(cell, torch.randn(5, 2, 3), backend="loop")  # compiled loops have tests of their own
    assert outputs.shape == (5, 2, 4)


def test_options_reach_the_cell():
    assert make_cell("lstm", 3, 4, forget_bias=3.0).forget_bias == 3.0
    assert make_cell("jordan", 3, 4, output_size=2).output_size == 2
    relu = make_cell("rnn-relu", 3, 4)
    assert isinstance(relu, Elman)
    assert relu.phi is torch.relu


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError, match="unknown cell 'lsmt'; did you mean 'lstm'"):
        make_cell("lsmt", 3, 4)
    with pytest.raises(ConfigError, match="known: gru, gru-layernorm, gru-original, indrnn"):
        make_cell("transformer", 3, 4)


@pytest.mark.usefixtures("_own_module")
def test_a_cell_from_the_current_directory():
    cell = make_cell("my_cells_here:Sum", 3, 4, scale=2.0)
    outputs, _ = scan(cell, torch.ones(5, 2, 3))
    assert outputs[:, 0, 0].tolist() == [6, 12, 18, 24, 30]
    assert type(cell) is import_cell("my_cells_here:Sum")


def test_an_installed_cell():
    assert import_cell("recurra.cells.lstm:LSTM") is LSTM


@pytest.mark.usefixtures("_own_module")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module_here:Sum", "cannot import 'no_such_module_here'.*No module named"),
        ("needs_more:Sum", "No module named 'not_installed_anywhere'"),
        ("not_python:Sum", "cannot import 'not_python'.*invalid syntax"),
        ("my_cells_here:Summ", "module 'my_cells_here' has no class 'Summ'; did you mean 'Sum'"),
        ("my_cells_here:function", "is not a class of torch modules"),
        ("my_cells_here:NoStep", "is not a cell: it has no method 'step'"),
        ("my_cells_here:NoZeroState", "is not a cell: it has no method 'zero_state'"),
        ("recurra.cells:Cell", "is not a cell: it has no method 'step'"),
        ("my_cells_here:", "write 'pkg.module:Class'"),
        (":Sum", "write 'pkg.module:Class'"),
        (".my_cells_here:Sum", "write 'pkg.module:Class'"),
        ("my_cells_here:Sum:Sum", "write 'pkg.module:Class'"),
    ],
)
def test_what_is_not_a_cell_is_said(path, message):
    with pytest.raises(ConfigError, match=message):
        make_cell(path, 3, 4)
