from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

from recurra.engine import plans
from recurra.engine.llvm import compiler


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)


@pytest.fixture
def new_plans(monkeypatch):
    """No plan is known yet, and none is known afterwards."""
    monkeypatch.setattr(plans, "_plans", OrderedDict())
    monkeypatch.setattr(plans, "_recent", {})


@pytest.fixture
def new_process(monkeypatch, new_plans):
    """Neither plan nor compiled program is known yet."""
    monkeypatch.setattr(compiler, "_programs", {})


@pytest.fixture
def threads():
    """Set the number of torch's threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
