"""Cells: one step of a recurrent network each, as equations in plain PyTorch."""

from recurra.cells.base import Cell
from recurra.cells.box import CELLS
from recurra.cells.elman import IRNN, Elman, ElmanState
from recurra.cells.gru import GRU, GRUState
from recurra.cells.gru_original import OriginalGRU
from recurra.cells.indrnn import IndRNN
from recurra.cells.initialise import INITIALISERS, initialise
from recurra.cells.jordan import Jordan, JordanState
from recurra.cells.layer_norm_gru import LayerNormGRU
from recurra.cells.layer_norm_lstm import LayerNormLSTM
from recurra.cells.lstm import LSTM, LSTMState
from recurra.cells.lstm_coupled import CoupledLSTM
from recurra.cells.lstm_mogrifier import MogrifierLSTM
from recurra.cells.lstm_peephole import PeepholeLSTM
from recurra.cells.lstm_projected import ProjectedLSTM
from recurra.cells.mgu import MGU
from recurra.cells.mingru import MinGRU
from recurra.cells.minlstm import MinLSTM
from recurra.cells.registry import import_cell, make_cell
from recurra.cells.rglru import RGLRU
from recurra.cells.slstm import SLSTM, SLSTMState
from recurra.cells.sru import SRU, SRUState
from recurra.cells.ugrnn import UGRNN

__all__ = [
    "CELLS",
    "GRU",
    "INITIALISERS",
    "IRNN",
    "LSTM",
    "MGU",
    "RGLRU",
    "SLSTM",
    "SRU",
    "UGRNN",
    "Cell",
    "CoupledLSTM",
    "Elman",
    "ElmanState",
    "GRUState",
    "IndRNN",
    "Jordan",
    "JordanState",
    "LSTMState",
    "LayerNormGRU",
    "LayerNormLSTM",
    "MinGRU",
    "MinLSTM",
    "MogrifierLSTM",
    "OriginalGRU",
    "PeepholeLSTM",
    "ProjectedLSTM",
    "SLSTMState",
    "SRUState",
    "import_cell",
    "initialise",
    "make_cell",
]
