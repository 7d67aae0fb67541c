"""Cells: one step of a recurrent network each, as equations in plain PyTorch."""

from recurra.cells.base import Cell
from recurra.cells.elman import IRNN, Elman, ElmanState
from recurra.cells.gru import GRU, GRUState
from recurra.cells.lstm import LSTM, LSTMState

__all__ = ["GRU", "IRNN", "LSTM", "Cell", "Elman", "ElmanState", "GRUState", "LSTMState"]
