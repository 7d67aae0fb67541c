"""A language model for a vocabulary that has grown, and its layers from the top down."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from recurra.errors import ConfigError, VocabularyError, nearest
from recurra.models.config import ModelConfig

if TYPE_CHECKING:
    from recurra.data import Tokenizer
    from recurra.models.language_model import LanguageModel

__all__ = ["NOISE", "check_same_shape", "grow", "layers_from_top"]

NOISE = ("dropout", "input_dropout", "embedding_dropout", "weight_drop")
"""Settings of a model that act in training alone, so that its weights mean the same under any of them."""


def grow(model: LanguageModel, tokenizer: Tokenizer, **noise: Any) -> LanguageModel:
    """Return a copy of a model that knows the tokens behind its own, too; see `LanguageModel.grown`."""
    known = model.vocabulary
    check_same_shape(model.config, noise)
    if tokenizer.kind != known.kind or tokenizer.names[: len(known)] != known.names:
        raise VocabularyError(
            f"the vocabulary of {len(tokenizer):,} tokens did not grow from the model's {len(known):,}; "
            f"make it with model.vocabulary.grown(texts)"
        )
    with torch.random.fork_rng():  # the first weights, all replaced, take no numbers from who comes after
        grown = type(model)(tokenizer, replace(model.config, **noise))
    weights, fresh = model.state_dict(), len(tokenizer) - len(known)
    if fresh:
        for name in ("embedding.weight", "projection"):
            if name in weights:
                weights[name] = torch.cat([weights[name], _first_rows(weights[name], known, fresh)])
        weights["bias"] = torch.cat([weights["bias"], _first_biases(weights["bias"], known, fresh)])
    grown.to(model.bias).load_state_dict(weights)
    for ours, theirs in zip(grown.parameters(), model.parameters(), strict=True):
        ours.requires_grad_(theirs.requires_grad)
    return grown.train(model.training)


def _first_rows(rows: Tensor, known: Tokenizer, fresh: int) -> Tensor:
    """The row of the unknown token, which stood for the new ones till now, or the mean of all but labels."""
    first = rows[_spoken(known)].mean(0) if known.unknown is None else rows[known.unknown]
    return first.expand(fresh, -1)


def _first_biases(biases: Tensor, known: Tokenizer, fresh: int) -> Tensor:
    """All new tokens together are as likely as the unknown one; where there is none, the mean of all but labels."""
    first = biases[_spoken(known)].mean() if known.unknown is None else biases[known.unknown] - math.log(fresh)
    return first.expand(fresh)


def _spoken(known: Tokenizer) -> list[int]:
    """Return the tokens that may follow: a label never does, and its weights say so."""
    labels = set(known.labels.values())
    return [token for token in range(len(known)) if token not in labels]


def check_same_shape(config: ModelConfig, changes: dict[str, Any]) -> None:
    """Raise ConfigError for a change that the weights of a trained model do not allow."""
    names = [field.name for field in fields(config)]
    for name, value in changes.items():
        if name not in names:
            raise ConfigError(f"unknown setting '{name}'{nearest(name, names)}")
        if name not in NOISE and value != getattr(config, name):
            raise ConfigError(
                f"'{name}' is {getattr(config, name)} in the trained model and cannot become {value}; "
                f"leave it out: only {', '.join(NOISE)} may change"
            )


def layers_from_top(model: LanguageModel) -> list[list[nn.Parameter]]:
    """Return the parameters of each layer, the output layer first, then the cells downwards, then the embedding.

    A tied embedding is the output layer's. So is whatever else a model has, such as attention.
    """
    lower = [list(cell.parameters()) for cell in reversed(model.stack.cells)]
    if model.projection is not None:
        lower.append(list(model.embedding.parameters()))
    below = {id(parameter) for layer in lower for parameter in layer}
    return [[parameter for parameter in model.parameters() if id(parameter) not in below], *lower]
