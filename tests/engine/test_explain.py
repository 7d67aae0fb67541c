"""What is said about a cell: useful to whoever wants it faster."""

from __future__ import annotations

import pytest
import torch

from recurra.cells import GRU, LSTM, Jordan, LayerNormLSTM
from recurra.engine import explain
from recurra.errors import EngineError


def test_an_lstm_from_the_input_to_what_is_kept():
    found = explain(LSTM(8, 16, dtype=torch.float64), backend="llvm")
    assert found.path == "llvm"
    assert found.before == ("product 8 -> 64, for all steps at once",)
    assert len(found.inside) == 1
    assert found.inside[0].startswith("product 16 -> 64, ")
    assert found.backward[-1] == "product 64 -> 16"
    assert found.kept == "state h, state c, sigmoid 48, tanh 32"
    assert found.kept_bytes == 8 * (16 + 16 + 48 + 32)
    lines = str(found).splitlines()
    assert lines[0].startswith("LSTM: llvm (")
    assert [line.split()[0] for line in lines[1:]] == ["before", "inside", "backward", "product", "kept"]


def test_stages_end_where_whole_rows_are_needed():
    assert len(explain(Jordan(8, 16, 4), backend="llvm").inside) == 2
    norm = explain(LayerNormLSTM(8, 16), backend="llvm")
    assert "layer norm 64 -> 64, for all steps at once" in norm.before
    assert len(norm.inside) > 2


def test_products_in_blocks_and_after_the_loop(small_cell):
    def step(cell, a, h):
        h = torch.einsum("bhi,hij->bhj", h.unflatten(1, (2, 3)), cell.D).flatten(1) + a
        return torch.softmax(torch.tanh(h) @ cell.U, -1), torch.tanh(h)

    found = explain(small_cell(step))
    assert any("product 6 -> 6 in 2 blocks" in stage for stage in found.inside)
    assert found.after == ("product 6 -> 6, for all steps at once", "softmax 6 -> 6, for all steps at once")


def test_the_loop_is_explained_by_the_line_that_is_in_the_way(small_cell):
    found = explain(small_cell(lambda cell, a, h: torch.tanh(a).sort(-1).values))
    assert found.path == "loop"
    assert "aten.sort.default" in found.reason
    assert "test_explain.py:" in found.reason
    assert str(found).splitlines() == [f"Small: loop ({found.reason})"]


def test_a_kernel_is_named():
    assert explain(GRU(3, 4), backend="library").reason == "torch's CPU kernel 'gru' computes it"


def test_what_cannot_be_explained_is_said(small_cell):
    with pytest.raises(EngineError, match="is no cell"):
        explain(torch.nn.Linear(2, 2))
    with pytest.raises(EngineError, match=r"is not compiled: .*aten\.sort"):
        explain(small_cell(lambda cell, a, h: torch.tanh(a).sort(-1).values), backend="llvm")
    cell = small_cell(lambda cell, a, h: torch.tanh(a))
    del cell.input_size
    assert "no input_size" in explain(cell).reason
    assert explain(cell, torch.zeros(1, 1, 6, dtype=torch.float64)).path == "llvm"
