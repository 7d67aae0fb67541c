"""Cells by name, ours and a user's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from recurra.cells.base import Cell
from recurra.cells.box import CELLS
from recurra.config import check_choice
from recurra.errors import ConfigError, nearest

__all__ = ["import_cell", "make_cell"]


def make_cell(name: str, input_size: int, hidden_size: int, **options: Any) -> Cell:
    """Build a cell from its name in `CELLS`, or from ``"pkg.module:Class"``, a user's own.

    Args:
        options: keyword arguments of the cell, e.g. ``forget_bias=2.0``.
    Returns: the cell. A user's need not be a `Cell`: any module with ``step`` and ``zero_state`` will do.
    Raises: ConfigError for an unknown name, with the nearest known one, and as `import_cell`.
    """
    if ":" in name:
        try:
            return import_cell(name)(input_size, hidden_size, **options)  # type: ignore[no-any-return]
        except TypeError as error:
            raise ConfigError(f"cannot build '{name}' as a cell of (input_size, hidden_size): {error}") from error
    check_choice(CELLS, cell=name)
    return CELLS[name](input_size, hidden_size, **options)


def import_cell(path: str) -> Callable[..., Any]:
    """Import a user's cell class from ``"pkg.module:Class"``, from the current directory or what is installed.

    The module is executed: import only what you trust.
    Raises: ConfigError if there is no such module or class, or the class is not a cell.
    """
    module_name, _, class_name = path.partition(":")
    if not class_name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigError(f"cannot read '{path}' as a cell; write 'pkg.module:Class'")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that a file there never hides an installed package
    try:
        module = import_module(module_name)
    except Exception as error:  # the module is a user's: whatever it raises is theirs to mend
        raise ConfigError(f"cannot import '{module_name}' for the cell '{path}': {error}") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ConfigError(f"module '{module_name}' has no class '{class_name}'{nearest(class_name, vars(module))}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError(f"'{path}' is not a class of torch modules, so it cannot be a cell")
    for method in ("step", "zero_state"):
        if getattr(found, method, None) in (None, getattr(Cell, method)):
            raise ConfigError(f"'{path}' is not a cell: it has no method '{method}'")
    return found
