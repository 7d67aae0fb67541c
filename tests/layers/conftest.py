from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from recurra.state import named_leaves
from recurra.testing.tolerances import TOLERANCES


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def close() -> Callable[[Any, Any], None]:
    """Compare two trees of tensors by the tolerance table."""

    def check(actual: Any, expected: Any) -> None:
        found, wanted = named_leaves(actual), named_leaves(expected)
        assert found.keys() == wanted.keys()
        for name, leaf in wanted.items():
            torch.testing.assert_close(found[name], leaf, **TOLERANCES[leaf.dtype])

    return check


@pytest.fixture
def gradients() -> Callable[[Any, list[Tensor]], tuple[Tensor, ...]]:
    """Gradients of a random but repeatable weighting of all leaves of a tree."""

    def compute(tree: Any, wrt: list[Tensor]) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(1)
        loss = sum(
            (leaf * torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)).sum()
            for leaf in named_leaves(tree).values()
        )
        return torch.autograd.grad(loss, wrt)

    return compute
