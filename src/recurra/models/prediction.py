"""Many inputs at once, whatever is to be said about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from recurra.config import check_at_least
from recurra.data.examples import Input, Padded
from recurra.errors import DataError
from recurra.models.modes import evaluating

__all__ = ["predict_in_batches"]

P = TypeVar("P")


def predict_in_batches(
    model: nn.Module,
    input: Input,
    inputs: Sequence[Any],
    predict: Callable[[Padded], Sequence[P]],
    *,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[P]:
    """Predict for inputs as a user knows them, those of similar length together.

    Args:
        input: makes them numbers.
        predict: says something about each row of a batch, in evaluation mode.
        batch: rows of a batch.
        progress: told how many are done, of how many.
    Returns: one prediction for each input, in the order given.
    Raises: DataError for an input that cannot be read, with its number.
    """
    check_at_least(1, batch=batch)
    encoded = [_encode(input, raw, number) for number, raw in enumerate(inputs, start=1)]
    order = sorted(range(len(encoded)), key=lambda n: len(encoded[n]))
    device = next(model.parameters()).device
    found: dict[int, P] = {}
    with torch.no_grad(), evaluating(model):
        for first in range(0, len(order), batch):
            numbers = order[first : first + batch]
            rows = predict(input.collate([encoded[n] for n in numbers]).to(device))
            found.update(zip(numbers, rows, strict=True))
            if progress:
                progress(len(found), len(order))
    return [found[n] for n in range(len(order))]


def _encode(input: Input, raw: Any, number: int) -> Any:
    try:
        return input.encode(raw)
    except DataError as error:
        raise DataError(f"input {number}: {error}") from None
