"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Tests use small tensors, for which a second thread only costs; more so on a busy machine.
torch.set_num_threads(1)

# How long an example takes says nothing about it on a busy machine.
settings.register_profile("recurra", deadline=None)
settings.load_profile("recurra")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets that are not part of the package; tests of published counts are skipped without it."""
    folder = Path(os.environ.get("RECURRA_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; set RECURRA_DATA to run the tests of published counts")
    return folder
