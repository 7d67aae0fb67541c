"""Torch modules: drop-in `RNN`, `LSTM` and `GRU`, `Stack`, the noise that regularises them, and the output's loss."""

from recurra.layers import (
    GRU,
    LSTM,
    RNN,
    LockedDropout,
    Stack,
    Zoneout,
    embedding_dropout,
    projected_cross_entropy,
    weight_drop,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "LockedDropout",
    "Stack",
    "Zoneout",
    "embedding_dropout",
    "projected_cross_entropy",
    "weight_drop",
]
