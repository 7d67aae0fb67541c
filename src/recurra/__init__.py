"""Recurrent neural networks that remember.

Names below are loaded when first used, so that ``import recurra`` stays light.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "Captioner": "recurra.models",
    "Checkpointed": "recurra.engine",
    "Corpus": "recurra.data",
    "Dataset": "recurra.data",
    "EncoderDecoder": "recurra.models",
    "Examples": "recurra.data",
    "Forecaster": "recurra.models",
    "Full": "recurra.engine",
    "LanguageModel": "recurra.models",
    "Online": "recurra.engine",
    "RandomWindow": "recurra.engine",
    "Run": "recurra.training",
    "SequenceClassifier": "recurra.models",
    "SequenceTagger": "recurra.models",
    "SeriesData": "recurra.data",
    "Trainer": "recurra.training",
    "Truncated": "recurra.engine",
    "Unbiased": "recurra.engine",
    "explain": "recurra.engine",
    "scan": "recurra.engine",
}
_MODULES = (
    "cells",
    "data",
    "decoding",
    "engine",
    "errors",
    "evaluation",
    "export",
    "models",
    "nn",
    "recipes",
    "sklearn",
    "state",
    "testing",
    "training",
)

__all__ = [*_EXPORTS, *_MODULES]

if TYPE_CHECKING:  # for editors and type checkers; nothing here runs
    from recurra import (
        cells,
        data,
        decoding,
        engine,
        errors,
        evaluation,
        export,
        models,
        nn,
        recipes,
        sklearn,
        state,
        testing,
        training,
    )
    from recurra.data import Corpus, Dataset, Examples, SeriesData
    from recurra.engine import Checkpointed, Full, Online, RandomWindow, Truncated, Unbiased, explain, scan
    from recurra.models import Captioner, EncoderDecoder, Forecaster, LanguageModel, SequenceClassifier, SequenceTagger
    from recurra.training import Run, Trainer


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    if name in _MODULES:
        return import_module(f"recurra.{name}")
    raise AttributeError(f"module 'recurra' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


# A program that torch.export saved names our operations, and nothing else of this package. Where torch is not loaded
# yet, they wait for the first name that is used.
if "torch" in sys.modules:
    import_module("recurra.engine")
