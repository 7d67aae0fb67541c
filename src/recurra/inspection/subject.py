"""What is looked into: a language model and its text, or any cell and what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.errors import CorpusError, ShapeError
from recurra.inspection.jacobian import still
from recurra.models import LanguageModel

__all__ = ["Subject", "layers_of", "read_pieces"]


@dataclass(frozen=True)
class Subject:
    """A cell and inputs for it.

    Args:
        cell: a stack of layers, or one cell, as the model has it.
        inputs: (T, B, I), B pieces of the text side by side.
    """

    cell: Any
    inputs: Tensor


def read_pieces(model: Any, tokens: Tensor, rows: int, length: int) -> Subject:
    """Cut pieces of a text for a model to read, spread evenly over it.

    Args:
        tokens: (N,) int64 for a `LanguageModel`; for any other cell what it reads, (N, I) float.
        rows, length: pieces and steps of each; fewer if the text is short, where no piece is more than half of it.
    Returns: for a language model its stack, and the embeddings of the tokens.
    Raises: CorpusError for a text without tokens; ShapeError for tokens of another shape.
    """
    is_language = isinstance(model, LanguageModel)
    if tokens.ndim != (1 if is_language else 2):
        wanted = "tokens (N,) int64" if is_language else "inputs (N, I) float"
        raise ShapeError(f"{type(model).__name__} is looked into with {wanted}, not {tuple(tokens.shape)}")
    if not len(tokens):
        raise CorpusError("the text holds no tokens, so there is nothing to look into the model with")
    length = min(length, (len(tokens) + 1) // 2)
    rows = min(rows, len(tokens) - length + 1)
    starts = torch.linspace(0, len(tokens) - length, rows).round().long()
    pieces = tokens.cpu()[starts + torch.arange(length).unsqueeze(1)]
    if not is_language:
        return Subject(model, pieces.detach())
    return Subject(model.stack.recurrence, still(model.embedding)(pieces).detach())


def layers_of(cell: Any) -> list[Any]:
    """Return the layers of a stack from the bottom up; any other cell is one."""
    cells = getattr(cell, "cells", None)
    return [cell] if cells is None else list(cells)
