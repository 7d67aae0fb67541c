"""Settings of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from recurra.config import check_at_least, check_probability, from_mapping
from recurra.errors import ConfigError

__all__ = ["ModelConfig", "choose_config"]

C = TypeVar("C")

MAX_LAYERS = 1000


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Settings of a language model.

    Args:
        cell: name of a cell in the box, or ``pkg.module:Class`` for one of the user's own.
        hidden: units of each layer.
        embedding: features of a token; default as `hidden`. With `tie`, also units of the last layer.
        dropout: probability of dropping a feature before, between and after the layers, locked over time.
        input_dropout: the same before the layers alone; default as `dropout`.
        embedding_dropout: probability of dropping a token's whole embedding.
        weight_drop: probability of dropping a recurrent weight, drawn once per window.
        zoneout: probability of keeping a state's entry as it was.
        tie: share the weights of the embedding and the output layer (Press & Wolf 2017).
        residual: add a layer's input to its output where sizes agree.
        attention_window: steps that `recurra.nn.WindowAttention` above the layers looks back; 0 for none.
        embedding_std: standard deviation of the embedding at the start; default 1, with `tie` 0.06.
        init, recurrent_init: names of initialisers for W and U; default as the cell draws them.
    """

    cell: str = "lstm"
    hidden: int = 256
    layers: int = 1
    embedding: int | None = None
    dropout: float = 0.0
    input_dropout: float | None = None
    embedding_dropout: float = 0.0
    weight_drop: float = 0.0
    zoneout: float = 0.0
    tie: bool = False
    residual: bool = False
    attention_window: int = 0
    embedding_std: float | None = None
    init: str | None = None
    recurrent_init: str | None = None

    def __post_init__(self) -> None:
        check_at_least(1, hidden=self.hidden, layers=self.layers, embedding=self.embedding)
        if self.layers > MAX_LAYERS:
            raise ConfigError(f"'layers' must be at most {MAX_LAYERS}, not {self.layers}")
        check_at_least(0, embedding_std=self.embedding_std, attention_window=self.attention_window)
        check_probability(
            dropout=self.dropout,
            input_dropout=self.input_dropout or 0.0,
            embedding_dropout=self.embedding_dropout,
            weight_drop=self.weight_drop,
            zoneout=self.zoneout,
        )


def choose_config(cls: type[C], config: C | None, settings: Mapping[str, Any]) -> C:
    """Return the settings of a model that was given them whole, or one by one.

    Raises: ConfigError if it was given both; as `recurra.config.from_mapping`.
    """
    if config is not None and settings:
        raise ConfigError(f"give config or single settings, not both: {', '.join(settings)}")
    return config or from_mapping(cls, settings)
