"""CONTRIBUTING.md is followed to the letter: its cell and its operations are added, and work."""

import re
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from recurra.cells import CELLS
from recurra.engine import explain
from recurra.engine.capture.aten import pointwise as reading
from recurra.engine.capture.aten.table import LOWERINGS
from recurra.engine.graphs import operations
from recurra.engine.llvm import pointwise as instructions
from recurra.testing import check_cell
from recurra.testing.case import make_case
from recurra.testing.gradient_laws import check_backends

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(title):
    """The Python of the section with this title, block by block."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
    return [
        textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize("subject", ["a cell", "an operation"])
def test_there_are_five_steps(subject):
    (section,) = re.findall(rf"^## Add {subject} in five steps\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^(\d)\. \*\*", section, re.MULTILINE) == list("12345")


def test_the_cell(tmp_path, monkeypatch):
    (source,) = blocks("Add a cell in five steps")
    assert len(source.splitlines()) <= 80
    assert max(map(len, source.splitlines())) <= 120
    (tmp_path / "antisymmetric.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    import antisymmetric

    monkeypatch.setitem(CELLS, "antisymmetric", antisymmetric.AntisymmetricRNN)
    check_cell(CELLS["antisymmetric"], input_size=3, hidden_size=4, examples=1)
    assert explain(CELLS["antisymmetric"](3, 4)).path == "llvm"


class Catenary(nn.Module):
    """Holds both of the operations."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        torch.manual_seed(0)
        self.input_size = input_size
        self.W = nn.Parameter(torch.randn(input_size, hidden_size, dtype=torch.float64) / 2)
        self.U = nn.Parameter(torch.randn(hidden_size, hidden_size, dtype=torch.float64) / 2)

    def zero_state(self, batch):
        return self.U.new_zeros(batch, len(self.U))

    def step(self, x, h):
        a = x @ self.W + torch.tanh(h) @ self.U
        h = torch.sinh(a) / torch.cosh(a)
        return h, h


@pytest.fixture
def tables():
    """The engine's tables, put back as they were."""
    found = (LOWERINGS, operations.OPERATIONS, instructions.INSTRUCTIONS)
    before = [dict(table) for table in found]
    yield found
    for table, entries in zip(found, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.mark.usefixtures("tables")
def test_the_operations():
    reason = explain(Catenary(3, 4)).reason
    assert "does not know aten.sinh.default" in reason
    assert "test_contributing.py:" in reason

    read, meaning, code = blocks("Add an operation in five steps")
    scope = vars(reading) | vars(operations)
    perform(read, scope)
    perform(meaning, scope)
    perform(code, dict(vars(instructions)))

    class Known(Catenary):  # another class: the reason of the first is remembered
        pass

    assert explain(Known(3, 4)).path == "llvm"
    check_backends(Known(3, 4), make_case(5, 3, 3, 2, 0, torch.float64))


def perform(code, scope):
    exec("from __future__ import annotations\n" + code, scope)
