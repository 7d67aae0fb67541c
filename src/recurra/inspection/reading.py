"""Reading a text with a model only to look at it: nothing about the model or torch's generators is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.errors import CorpusError, VocabularyError
from recurra.layers import Stack
from recurra.models import LanguageModel
from recurra.state import detach

__all__ = ["by_layer", "carried_state", "quiet", "read_prompt", "read_tokens", "stretches", "trained"]


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Within it, a model is in evaluation mode; after it, modes of modules and torch's generators are as before."""
    modes = [(module, module.training) for module in model.modules()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices):
        model.eval()
        try:
            yield
        finally:
            for module, was_training in modes:
                module.training = was_training


def read_tokens(model: LanguageModel, tokens: Any, *, least: int) -> Tensor:
    """Return tokens as (N,) int64, checked.

    Args:
        tokens: (N,) integers of any type, a tensor, an array, or `recurra.data.Tokens`.
        least: how many there must be.
    Raises: CorpusError if there are fewer, or if some are outside the model's vocabulary.
    """
    found = getattr(tokens, "ids", tokens)
    ids = found.detach().cpu() if isinstance(found, Tensor) else torch.from_numpy(np.asarray(found).astype(np.int64))
    if ids.ndim != 1 or ids.is_floating_point():
        raise CorpusError(f"a text to inspect is one row of token ids, not {ids.dtype} of shape {tuple(ids.shape)}")
    if len(ids) < least:
        raise CorpusError(
            f"the text has {len(ids)} tokens, but looking at it takes at least {least}; give a longer one"
        )
    size = len(model.vocabulary)
    if int(ids.min()) < 0 or int(ids.max()) >= size:
        raise CorpusError(f"the text has token {int(ids.max())}, but the vocabulary ends at {size - 1}; encode it anew")
    return ids.to(device=model.bias.device, dtype=torch.int64)


def read_prompt(model: LanguageModel, prompt: str) -> Tensor:
    """Return the ids of a prompt, (T,) int64.

    Raises: VocabularyError if it is empty, or holds symbols that the vocabulary does not.
    """
    vocabulary = model.vocabulary
    if vocabulary.unknown is None and (unseen := vocabulary.unseen(prompt)):
        names = ", ".join(repr(symbol) for symbol, _ in unseen.most_common(5))
        raise VocabularyError(f"the prompt holds what the model has never seen: {names}; leave it out")
    ids = torch.from_numpy(vocabulary.encode(prompt).astype(np.int64))
    if not len(ids):
        raise VocabularyError("the prompt is empty; write a few words whose next one the model shall predict")
    return ids.to(model.bias.device)


def stretches(tokens: Tensor, rows: int, length: int) -> Tensor:
    """Return up to `rows` stretches (length, rows) of a text (N,), evenly spread over it; fewer if it is short."""
    room = len(tokens) - length
    starts = torch.linspace(0, room, min(rows, room + 1), device=tokens.device).long()
    return tokens[starts + torch.arange(length, device=tokens.device).unsqueeze(1)]


@torch.no_grad()
def carried_state(model: LanguageModel, tokens: Tensor) -> Any:
    """Return the state after tokens (T, B), detached; without tokens, T = 0, the fresh one."""
    if not len(tokens):
        return model.zero_state(tokens.shape[1])
    return detach(model.features(tokens)[1])


def by_layer(cell: Any, state: Any) -> list[Any]:
    """Return the state of each cell of a stack, from the bottom up; of any other cell, its state alone."""
    return list(state[: cell.num_layers]) if isinstance(cell, Stack) else [state]


def trained(model: nn.Module) -> list[Tensor]:
    """Return the parameters that training moves."""
    return [p for p in model.parameters() if p.requires_grad]
