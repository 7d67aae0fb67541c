"""Corpora, tokenizers, the token store, partitioning into streams; examples and series.

Names below are loaded when first used: preparing a corpus takes many small processes, which need not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.data.config import BUILT_IN, DataConfig
    from recurra.data.corpus import Corpus
    from recurra.data.examples import Dataset, DatasetConfig, Examples
    from recurra.data.pieces import Pieces, TextDecoder, follow, read_pieces
    from recurra.data.preparing import PrepareConfig, prepare
    from recurra.data.reordering import Reordered, check_reordering
    from recurra.data.series import Series, SeriesConfig, SeriesData, SeriesFormat
    from recurra.data.store import Tokens
    from recurra.data.stored import is_store, token_counts
    from recurra.data.streams import NOTHING, Batch, RandomStream, SequentialStream, Stream, check_continues
    from recurra.data.tokenizers import (
        KINDS,
        Tokenizer,
        Unseen,
        build_tokenizer,
        check_seen,
        load_tokenizer,
        nearest_label,
    )

__all__ = [
    "BUILT_IN",
    "KINDS",
    "NOTHING",
    "Batch",
    "Corpus",
    "DataConfig",
    "Dataset",
    "DatasetConfig",
    "Examples",
    "Pieces",
    "PrepareConfig",
    "RandomStream",
    "Reordered",
    "SequentialStream",
    "Series",
    "SeriesConfig",
    "SeriesData",
    "SeriesFormat",
    "Stream",
    "TextDecoder",
    "Tokenizer",
    "Tokens",
    "Unseen",
    "build_tokenizer",
    "check_continues",
    "check_reordering",
    "check_seen",
    "follow",
    "is_store",
    "load_tokenizer",
    "nearest_label",
    "prepare",
    "read_pieces",
    "token_counts",
]

_HOMES = {
    "BUILT_IN": "recurra.data.config",
    "KINDS": "recurra.data.tokenizers",
    "NOTHING": "recurra.data.streams",
    "Batch": "recurra.data.streams",
    "Corpus": "recurra.data.corpus",
    "DataConfig": "recurra.data.config",
    "Dataset": "recurra.data.examples",
    "DatasetConfig": "recurra.data.examples",
    "Examples": "recurra.data.examples",
    "Pieces": "recurra.data.pieces",
    "PrepareConfig": "recurra.data.preparing",
    "RandomStream": "recurra.data.streams",
    "Reordered": "recurra.data.reordering",
    "SequentialStream": "recurra.data.streams",
    "Series": "recurra.data.series",
    "SeriesConfig": "recurra.data.series",
    "SeriesData": "recurra.data.series",
    "SeriesFormat": "recurra.data.series",
    "Stream": "recurra.data.streams",
    "TextDecoder": "recurra.data.pieces",
    "Tokenizer": "recurra.data.tokenizers",
    "Tokens": "recurra.data.store",
    "Unseen": "recurra.data.tokenizers",
    "build_tokenizer": "recurra.data.tokenizers",
    "check_continues": "recurra.data.streams",
    "check_reordering": "recurra.data.reordering",
    "check_seen": "recurra.data.tokenizers",
    "follow": "recurra.data.pieces",
    "load_tokenizer": "recurra.data.tokenizers",
    "nearest_label": "recurra.data.tokenizers",
    "is_store": "recurra.data.stored",
    "prepare": "recurra.data.preparing",
    "token_counts": "recurra.data.stored",
    "read_pieces": "recurra.data.pieces",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'recurra.data' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
