"""Libraries that only some tasks need, loaded when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from recurra.errors import DataError

__all__ = ["need"]

WHAT_FOR = {
    "pandas": ("reading series", "pandas"),
    "soundfile": ("reading sounds", "soundfile"),
    "kaldi_native_fbank": ("reading sounds", "kaldi-native-fbank"),
    "scipy": ("changing the rate of sounds", "scipy"),
    "PIL": ("reading pictures", "pillow"),
    "sklearn": ("measuring classifications", "scikit-learn"),
    "sacrebleu": ("measuring texts", "sacrebleu"),
}


def need(module: str) -> Any:
    """Return a module of the extra ``recurra[tasks]``, such as ``pandas`` or ``PIL.Image``.

    Raises: DataError if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        purpose, package = WHAT_FOR[module.partition(".")[0]]
        raise DataError(f'{purpose} needs {package}; install it with: pip install "recurra[tasks]"') from None
