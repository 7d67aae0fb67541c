"""Training mode and evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

__all__ = ["evaluating"]


class _HasModes(Protocol):
    """A module of torch, or what stands before one."""

    @property
    def training(self) -> bool: ...
    def train(self, mode: bool = True) -> Any: ...


@contextmanager
def evaluating(model: _HasModes) -> Iterator[None]:
    """Within it, a model is in evaluation mode; afterwards, as it was."""
    was_training = model.training
    model.train(False)
    try:
        yield
    finally:
        model.train(was_training)
