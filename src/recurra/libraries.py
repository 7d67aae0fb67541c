"""Libraries that only some work needs, loaded when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from recurra.errors import DataError

__all__ = ["need"]

WHAT_FOR = {
    "pandas": ("reading series", "pandas", "tasks"),
    "soundfile": ("reading sounds", "soundfile", "tasks"),
    "kaldi_native_fbank": ("reading sounds", "kaldi-native-fbank", "tasks"),
    "scipy": ("changing the rate of sounds", "scipy", "tasks"),
    "PIL": ("reading pictures", "pillow", "tasks"),
    "sklearn": ("measuring classifications", "scikit-learn", "tasks"),
    "sacrebleu": ("measuring texts", "sacrebleu", "tasks"),
    "outlines_core": ("keeping a text to a pattern", "outlines-core", "control"),
    "onnx": ("exporting to ONNX", "onnx", "export"),
    "onnxruntime": ("running ONNX graphs", "onnxruntime", "export"),
    "nltk": ("counting n-grams", "nltk", "control"),
}
"""What each is for, the package that holds it, and the extra that installs it."""


def need(module: str) -> Any:
    """Return a module of an extra, such as ``pandas`` or ``PIL.Image``.

    Raises: DataError if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        purpose, package, extra = WHAT_FOR[module.partition(".")[0]]
        raise DataError(f'{purpose} needs {package}; install it with: pip install "recurra[{extra}]"') from None
