"""Corpora, tokenizers, the token store, partitioning into streams; examples and series."""

from recurra.data.corpus import BUILT_IN, Corpus, DataConfig
from recurra.data.examples import Dataset, DatasetConfig, Examples
from recurra.data.series import Series, SeriesConfig, SeriesData, SeriesFormat
from recurra.data.store import Tokens
from recurra.data.streams import NOTHING, Batch, RandomStream, SequentialStream, Stream, check_continues
from recurra.data.tokenizers import KINDS, Tokenizer, build_tokenizer, check_seen, load_tokenizer, nearest_label

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
    "RandomStream",
    "SequentialStream",
    "Series",
    "SeriesConfig",
    "SeriesData",
    "SeriesFormat",
    "Stream",
    "Tokenizer",
    "Tokens",
    "build_tokenizer",
    "check_continues",
    "check_seen",
    "load_tokenizer",
    "nearest_label",
]
