"""Torch modules: drop-in `RNN`, `LSTM` and `GRU`, `Stack`, and the noise that regularises recurrent networks."""

from recurra.layers import GRU, LSTM, RNN, LockedDropout, Stack, Zoneout, embedding_dropout, weight_drop

__all__ = ["GRU", "LSTM", "RNN", "LockedDropout", "Stack", "Zoneout", "embedding_dropout", "weight_drop"]
