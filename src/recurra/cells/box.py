"""The cells in the box, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from recurra.cells.base import Cell
from recurra.cells.elman import IRNN, Elman
from recurra.cells.gru import GRU
from recurra.cells.gru_original import OriginalGRU
from recurra.cells.indrnn import IndRNN
from recurra.cells.jordan import Jordan
from recurra.cells.layer_norm_gru import LayerNormGRU
from recurra.cells.layer_norm_lstm import LayerNormLSTM
from recurra.cells.lstm import LSTM
from recurra.cells.lstm_coupled import CoupledLSTM
from recurra.cells.lstm_mogrifier import MogrifierLSTM
from recurra.cells.lstm_peephole import PeepholeLSTM
from recurra.cells.mgu import MGU
from recurra.cells.mingru import MinGRU
from recurra.cells.minlstm import MinLSTM
from recurra.cells.rglru import RGLRU
from recurra.cells.slstm import SLSTM
from recurra.cells.sru import SRU
from recurra.cells.ugrnn import UGRNN

__all__ = ["CELLS"]

CELLS: dict[str, Callable[..., Cell]] = {
    "gru": GRU,
    "gru-layernorm": LayerNormGRU,
    "gru-original": OriginalGRU,
    "indrnn": IndRNN,
    "irnn": IRNN,
    "jordan": Jordan,
    "lstm": LSTM,
    "lstm-coupled": CoupledLSTM,
    "lstm-layernorm": LayerNormLSTM,
    "lstm-mogrifier": MogrifierLSTM,
    "lstm-peephole": PeepholeLSTM,
    "mgu": MGU,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "rglru": RGLRU,
    "rnn": Elman,
    "rnn-relu": partial(Elman, nonlinearity="relu"),
    "slstm": SLSTM,
    "sru": SRU,
    "ugrnn": UGRNN,
}
