"""Libraries that only some tasks need, loaded when they are."""

from __future__ import annotations

import importlib
from typing import Any

from recurra.errors import DataError

__all__ = ["need"]

PACKAGES = {"sklearn": "scikit-learn", "PIL": "pillow", "kaldi_native_fbank": "kaldi-native-fbank"}
"""Names in the package index, where they differ from those that are imported."""


def need(module: str, purpose: str) -> Any:
    """Import a module of the extra ``tasks``.

    Args:
        purpose: what it is needed for, such as ``"reading tables"``.
    Raises: DataError if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        root = module.partition(".")[0]
        raise DataError(
            f'{purpose} needs {PACKAGES.get(root, root)}; install it with: pip install "recurra[tasks]"'
        ) from None
