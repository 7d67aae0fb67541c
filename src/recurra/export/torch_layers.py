"""From our layers to those of ``torch.nn``, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from recurra import cells
from recurra.errors import ConfigError
from recurra.layers import GRU, LSTM, RNN, Bidirectional, Stack

__all__ = ["from_torch", "to_cells", "to_torch"]

OURS: dict[type[nn.RNNBase], type[nn.RNNBase]] = {nn.RNN: RNN, nn.LSTM: LSTM, nn.GRU: GRU}


def from_torch(module: nn.RNNBase) -> Any:
    """Return our `RNN`, `LSTM` or `GRU` with the options and weights of torch's.

    All options are kept: layers, directions, bias, batch_first, dropout, proj_size, nonlinearity, type and device.
    Raises: ConfigError for anything but ``torch.nn.RNN``, ``LSTM`` or ``GRU``.
    """
    for theirs, ours in OURS.items():
        if isinstance(module, theirs):
            return _copied(module, ours)
    raise ConfigError(f"torch.nn.RNN, LSTM and GRU are read, not {type(module).__name__}")


def to_torch(module: nn.Module) -> Any:
    """Return the ``torch.nn.RNN``, ``LSTM`` or ``GRU`` that computes what a module of ours computes.

    Args:
        module: our `RNN`, `LSTM` or `GRU`, with all options; a cell; or a stack, or layers that read both ways, of
            cells of one kind and size. Those become modules that read (T, B, I).
    Returns: a module with copies of the weights, in the mode of the one given. The state of a stack, leaf by leaf over
        its layers, is its ``hx``. Dropout keeps its probability, and is drawn anew at each step, as torch does.
    Raises: ConfigError for what has no counterpart there: other cells, the original GRU, residual connections, zoneout,
        attention, and noise on weights while a module is trained.
    """
    for theirs, ours in OURS.items():
        if isinstance(module, ours):
            return _copied(module, theirs)
    if isinstance(module, Stack):
        _check_plain(module)
        return _joined([[cell] for cell in module.cells], module)
    if isinstance(module, Bidirectional):
        _check_noise(module)
        return _joined([list(pair) for pair in zip(module.forwards, module.backwards, strict=True)], module)
    return _joined([[module]], module)


def to_cells(module: nn.RNNBase) -> Stack | Bidirectional:
    """Return the cells of a ``torch.nn.RNN``, ``LSTM`` or ``GRU``, or of ours, with copies of its weights.

    Returns: a stack, or layers that read both ways; they read (T, B, I), whatever `batch_first` was.
    """
    both = 2 if module.bidirectional else 1
    pairs = []
    for layer in range(module.num_layers):
        width = module.input_size if not layer else both * (module.proj_size or module.hidden_size)
        pairs.append([_cell(module, width, f"_l{layer}{suffix}") for suffix in ("", "_reverse")[:both]])
    if both == 2:
        found: Any = Bidirectional([(forward, backward) for forward, backward in pairs], dropout=module.dropout)
    else:
        found = Stack([cell for (cell,) in pairs], dropout=module.dropout)
    return found.train(module.training)  # type: ignore[no-any-return]


def _copied(module: nn.RNNBase, kind: Any) -> nn.RNNBase:
    """Return a module of another class with the same options, weights, and mode."""
    weight = module.weight_ih_l0
    options: dict[str, Any] = {
        "num_layers": module.num_layers,
        "bias": module.bias,
        "batch_first": module.batch_first,
        "dropout": module.dropout,
        "bidirectional": module.bidirectional,
        "device": weight.device,
        "dtype": weight.dtype,
    }
    if isinstance(module, nn.LSTM):
        options["proj_size"] = module.proj_size
    if isinstance(module, nn.RNN):
        options["nonlinearity"] = module.nonlinearity
    with torch.random.fork_rng(devices=[]):  # what it starts from is replaced
        made: nn.RNNBase = kind(module.input_size, module.hidden_size, **options)
    made.load_state_dict(module.state_dict())
    return made.train(module.training)


def _cell(module: nn.RNNBase, width: int, suffix: str) -> cells.Cell:
    weight = module.weight_ih_l0
    options: dict[str, Any] = {"bias": module.bias, "device": weight.device, "dtype": weight.dtype}
    size = module.hidden_size
    with torch.random.fork_rng(devices=[]):
        if isinstance(module, nn.RNN):
            cell: cells.Cell = cells.Elman(width, size, nonlinearity=module.nonlinearity, **options)
        elif isinstance(module, nn.GRU):
            cell = cells.GRU(width, size, **options)
        elif module.proj_size:
            cell = cells.ProjectedLSTM(width, size, module.proj_size, **options)
        else:
            cell = cells.LSTM(width, size, **options)
    weights = {name: getattr(module, name.replace("_l0", suffix)) for name in cell.state_dict()}
    cell.load_state_dict(weights)
    return cell


def _joined(layers: Sequence[Sequence[Any]], module: Any) -> nn.RNNBase:
    """Return torch's module of these cells: of each layer one, or one for each direction."""
    first = layers[0][0]
    kind, options = _counterpart(first)
    for cell in (cell for layer in layers for cell in layer):
        if _counterpart(cell) != (kind, options):
            raise ConfigError("torch.nn has layers of one kind and size; these differ in cell, size, bias or type")
    dropout = module.dropout.p if isinstance(module, Stack | Bidirectional) else 0.0
    with torch.random.fork_rng(devices=[]):
        made: nn.RNNBase = kind(
            first.input_size,
            num_layers=len(layers),
            bidirectional=len(layers[0]) == 2,
            dropout=dropout if len(layers) > 1 else 0.0,  # torch warns of what has nothing to act on
            **options,
        )
    weights = {
        name.replace("_l0", f"_l{layer}{suffix}"): tensor
        for layer, directions in enumerate(layers)
        for cell, suffix in zip(directions, ("", "_reverse"), strict=False)
        for name, tensor in cell.state_dict().items()
    }
    made.load_state_dict(weights)
    return made.train(module.training)


def _counterpart(cell: Any) -> tuple[Any, dict[str, Any]]:
    """Return torch's class for a cell, and the options that all layers share."""
    kind: Any = None
    more: dict[str, Any] = {}
    if type(cell) in (cells.Elman, cells.IRNN):
        kind, more = nn.RNN, {"nonlinearity": "tanh" if cell.phi is torch.tanh else "relu"}
    elif type(cell) is cells.GRU:
        kind = nn.GRU
    elif type(cell) is cells.LSTM:
        kind = nn.LSTM
    elif type(cell) is cells.ProjectedLSTM:
        kind, more = nn.LSTM, {"proj_size": cell.proj_size}
    if kind is None:
        why = "whose GRU resets after the product" if type(cell) is cells.OriginalGRU else "which has RNN, LSTM and GRU"
        raise ConfigError(f"{type(cell).__name__} has no counterpart in torch.nn, {why}")
    weight = cell.W
    shared = {"hidden_size": cell.hidden_size, "bias": cell.b is not None}
    return kind, {**shared, **more, "device": weight.device, "dtype": weight.dtype}


def _check_plain(stack: Stack) -> None:
    for name in ("residual", "zoneout", "attention"):
        if getattr(stack, name):
            raise ConfigError(f"torch.nn has no {name} in its layers; only a stack without it has a counterpart there")
    _check_noise(stack)


def _check_noise(module: Any) -> None:
    if module.weight_drop and module.training:
        raise ConfigError("torch.nn drops no weights in training; call eval() for the weights as they are")
