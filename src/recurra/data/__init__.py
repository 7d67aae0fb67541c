"""Corpora, tokenizers, the token store, partitioning into streams; examples and series."""

from recurra.data.config import BUILT_IN, DataConfig
from recurra.data.corpus import Corpus
from recurra.data.examples import Dataset, DatasetConfig, Examples
from recurra.data.pieces import Pieces, TextDecoder, follow, read_pieces
from recurra.data.series import Series, SeriesConfig, SeriesData, SeriesFormat
from recurra.data.store import Tokens
from recurra.data.streams import NOTHING, Batch, RandomStream, SequentialStream, Stream, check_continues
from recurra.data.tokenizers import KINDS, Tokenizer, Unseen, build_tokenizer, check_seen, load_tokenizer, nearest_label

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
    "RandomStream",
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
    "check_seen",
    "follow",
    "load_tokenizer",
    "nearest_label",
    "read_pieces",
]
