"""Torch modules: drop-in `RNN`, `LSTM` and `GRU`, layers of any cells, pooling, noise, and the output's loss."""

from recurra.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    LockedDropout,
    Pooling,
    Stack,
    WindowAttention,
    Zoneout,
    embedding_dropout,
    projected_cross_entropy,
    weight_drop,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "LockedDropout",
    "Pooling",
    "Stack",
    "WindowAttention",
    "Zoneout",
    "embedding_dropout",
    "projected_cross_entropy",
    "weight_drop",
]
