"""Cells: one step of a recurrent network each, as equations in plain PyTorch."""

from recurra.cells.base import Cell
from recurra.cells.elman import IRNN, Elman, ElmanState
from recurra.cells.gru import GRU, GRUState
from recurra.cells.gru_original import OriginalGRU
from recurra.cells.initialise import INITIALISERS, initialise
from recurra.cells.jordan import Jordan, JordanState
from recurra.cells.layer_norm_lstm import LayerNormLSTM
from recurra.cells.lstm import LSTM, LSTMState
from recurra.cells.lstm_projected import ProjectedLSTM
from recurra.cells.mingru import MinGRU
from recurra.cells.registry import CELLS, import_cell, make_cell

__all__ = [
    "CELLS",
    "GRU",
    "INITIALISERS",
    "IRNN",
    "LSTM",
    "Cell",
    "Elman",
    "ElmanState",
    "GRUState",
    "Jordan",
    "JordanState",
    "LSTMState",
    "LayerNormLSTM",
    "MinGRU",
    "OriginalGRU",
    "ProjectedLSTM",
    "import_cell",
    "initialise",
    "make_cell",
]
