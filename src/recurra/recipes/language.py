"""Characters and words of books, newspapers and names."""

from collections.abc import Callable

from recurra.data import DataConfig
from recurra.models import ModelConfig
from recurra.training import RunConfig, TrainingConfig

__all__ = ["RECIPES"]


def shakespeare() -> RunConfig:
    """Characters of Tiny Shakespeare, the first 90 % against the last 10 %, in a quarter of an hour on two cores."""
    return RunConfig(
        recipe="shakespeare",
        data=DataConfig(tokenizer="char", valid=0.1),
        model=ModelConfig(cell="lstm", hidden=512, embedding=64, dropout=0.25),
        training=TrainingConfig(batch=32, backprop="64", lr=3e-3, weight_decay=0.05, epochs=14),
    )


def ptb_small() -> RunConfig:
    """Words of the Penn Treebank with two tied layers of 200 units and six passes.

    Size, length, rows, window, SGD at 20 and clipping at 0.25 are those of the PyTorch example's smallest model,
    published at a test perplexity of 110.44; the rate falls along a cosine here.
    """
    return RunConfig(
        recipe="ptb-small",
        data=DataConfig(tokenizer="word", valid=0.1),
        model=ModelConfig(cell="lstm", hidden=200, layers=2, dropout=0.2, tie=True),
        training=TrainingConfig(
            batch=20, backprop="35", optimizer="sgd", lr=20.0, weight_decay=0.0, clip=0.25, epochs=6
        ),
    )


def time_machine() -> RunConfig:
    """Memorise a short text, as Dive into Deep Learning does with the first 10,000 characters of The Time Machine.

    256 units, 500 passes, 32 rows of 35 characters; nothing is held back for validation.
    """
    return RunConfig(
        recipe="time-machine",
        data=DataConfig(tokenizer="char", valid=0.0),
        model=ModelConfig(cell="lstm", hidden=256),
        training=TrainingConfig(batch=32, backprop="35", lr=2e-3, weight_decay=0.0, epochs=500),
    )


def names_by_language() -> RunConfig:
    """Write names of 18 languages, each when it is asked for: characters behind the label of their language.

    The table has no names of columns: name, tab, language, as `examples/prepare_tasks.py` makes it.
    """
    return RunConfig(
        recipe="names-by-language",
        data=DataConfig(source="", tokenizer="char", valid=0.1, condition="2", balance=0.8),
        model=ModelConfig(cell="lstm", hidden=128, embedding=48, dropout=0.4),
        training=TrainingConfig(batch=32, backprop="32", lr=4e-3, epochs=5),
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "shakespeare": shakespeare,
    "ptb-small": ptb_small,
    "time-machine": time_machine,
    "names-by-language": names_by_language,
}
