"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Tests use small tensors, for which a second thread only costs; more so on a busy machine.
torch.set_num_threads(1)

# How long an example takes says nothing about it on a busy machine. The same examples every time: whether the tests
# pass says something about a change, not about luck; RECURRA_HYPOTHESIS=campaign looks for new ones.
settings.register_profile("recurra", deadline=None, derandomize=True)
settings.register_profile("campaign", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("RECURRA_HYPOTHESIS", "recurra"))

ROOT = Path(__file__).resolve().parent.parent


class LargestTensor(TorchDispatchMode):
    """Within it, `numel` is the size of the largest tensor that any operation of torch has returned."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = (leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        self.numel = max([self.numel, *sizes])
        return result


@pytest.fixture
def largest_tensor() -> type[LargestTensor]:
    """A watch on how large tensors become."""
    return LargestTensor


@pytest.fixture(scope="session", autouse=True)
def _compiled_code_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep compiled loops apart from the user's own, and let the workers of a session share them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECURRA_CACHE", str(folder / "compiled"))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets that are not part of the package; tests of published counts are skipped without it."""
    folder = Path(os.environ.get("RECURRA_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; set RECURRA_DATA to run the tests of published counts")
    return folder
