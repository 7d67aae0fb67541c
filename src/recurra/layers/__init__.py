"""Torch modules that run cells through time; public as `recurra.nn`."""

from recurra.layers.attention import ATTENTIONS, AdditiveAttention, Attention, DotAttention, Memory
from recurra.layers.bidirectional import Bidirectional
from recurra.layers.pooling import Pooling
from recurra.layers.projected_loss import projected_cross_entropy, row_pieces
from recurra.layers.regularisation import LockedDropout, Zoneout, embedding_dropout, weight_drop
from recurra.layers.rnn import GRU, LSTM, RNN
from recurra.layers.stack import Stack
from recurra.layers.window_attention import Past, WindowAttention

__all__ = [
    "ATTENTIONS",
    "GRU",
    "LSTM",
    "RNN",
    "AdditiveAttention",
    "Attention",
    "Bidirectional",
    "DotAttention",
    "LockedDropout",
    "Memory",
    "Past",
    "Pooling",
    "Stack",
    "WindowAttention",
    "Zoneout",
    "embedding_dropout",
    "projected_cross_entropy",
    "row_pieces",
    "weight_drop",
]
