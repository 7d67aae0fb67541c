"""Labels, tags, texts and forecasts of public data.

All but the series are prepared by `examples/prepare_tasks.py`; the ball is simulated by `examples/bouncing_ball.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recurra.data.examples import DatasetConfig
from recurra.data.series import SeriesConfig
from recurra.models import CaptionerConfig, ClassifierConfig, EncoderDecoderConfig, ForecasterConfig, TaggerConfig
from recurra.training import ExamplesConfig, RunConfig

__all__ = ["RECIPES"]


def sst2() -> RunConfig:
    """Is a sentence about a film good or bad? Words of the Stanford Sentiment Treebank, whole sentences alone."""
    return _recipe(
        "sst2",
        DatasetConfig(task="classify", source="", tokenizer="word"),
        ClassifierConfig(
            hidden=64,
            embedding_std=0.1,
            dropout=0.5,
            embedding_dropout=0.1,
            word_dropout=0.1,
            pooling="attention",
        ),
        batch=32,
        lr=3e-3,
        epochs=6,
    )


def names() -> RunConfig:
    """Which of 18 languages is a name of? Characters."""
    return _recipe(
        "names",
        DatasetConfig(task="classify", source="", tokenizer="char", valid=0.02),
        ClassifierConfig(hidden=96, embedding=48, embedding_std=1.0, input_dropout=0.1),
        batch=64,
        lr=5e-3,
        epochs=12,
    )


def digits() -> RunConfig:
    """Which digit is spoken? The free spoken digit data set."""
    return _recipe(
        "digits",
        DatasetConfig(task="classify", source=""),
        ClassifierConfig(cell="gru", hidden=64, stride=2, mask=0.1),
        batch=32,
        lr=5e-3,
        epochs=12,
    )


def addition() -> RunConfig:
    """What is the sum of two numbers of up to three digits? Characters."""
    return _recipe(
        "addition",
        DatasetConfig(task="translate", source="", tokenizer="char", target_tokenizer="char", valid=0.02),
        EncoderDecoderConfig(cell="gru", hidden=64, embedding=32, dropout=0.0),
        batch=64,
        lr=4e-3,
        epochs=6,
    )


def french() -> RunConfig:
    """English to French, sentences of up to ten words, in byte pairs."""
    return _recipe(
        "french",
        DatasetConfig(task="translate", source="", tokenizer="bpe", target_tokenizer="bpe", valid=0.01),
        EncoderDecoderConfig(
            cell="gru",
            hidden=128,
            decoder_hidden=256,
            embedding=256,
            tie=True,
            attention="dot",
            dropout=0.2,
            label_smoothing=0.1,
        ),
        batch=128,
        lr=3e-3,
        epochs=5,
        average=0.999,
    )


def truecase() -> RunConfig:
    """Which letters are capitals? Characters of a text in lower case."""
    return _recipe(
        "truecase",
        DatasetConfig(task="tag", source="", tokenizer="char"),
        TaggerConfig(hidden=128, embedding=48, dropout=0.2),
        batch=16,
        lr=4e-3,
        epochs=12,
    )


def emoji() -> RunConfig:
    """What does an emoji show? Pictures of 16 x 16 to a few words."""
    return _recipe(
        "emoji",
        DatasetConfig(task="caption", source="", target_tokenizer="word", size=16),
        CaptionerConfig(hidden=128, blocks=2, shift=0.19, dropout=0.4),
        batch=64,
        lr=2e-3,
        weight_decay=0.05,
        epochs=350,
    )


def mnist() -> RunConfig:
    """Write the name of a handwritten digit, letter by letter."""
    return _recipe(
        "mnist",
        DatasetConfig(task="caption", source="", target_tokenizer="char"),
        CaptionerConfig(cell="gru", hidden=64, layers=1, blocks=3, shift=0.1, dropout=0.1),
        batch=32,
        lr=4e-3,
        epochs=8,
    )


def etth1() -> RunConfig:
    """The oil temperature of a transformer in the next 24 hours: the first 12, 4 and 4 months of ETTh1."""
    data = SeriesConfig(source="", target="OT", horizon=24, rows=20 * 720, valid=4 * 720, test=4 * 720)
    training = ExamplesConfig(batch=128, lr=2e-3, epochs=5)
    return RunConfig(task="forecast", data=data, model=ForecasterConfig(), training=training, recipe="etth1")


def airline() -> RunConfig:
    """Next month's airline passengers, the last third of twelve years being the test."""
    data = SeriesConfig(source="", target="Passengers", transform="log", test=0.33)
    training = ExamplesConfig(batch=32, lr=2e-3, steps=300)
    return RunConfig(task="forecast", data=data, model=ForecasterConfig(), training=training, recipe="airline")


def ball() -> RunConfig:
    """Where will a bouncing ball be in 20 frames, given 40 noisy ones?"""
    data = SeriesConfig(source="", series="series", target="x,y", horizon=20, context=40, valid=20)
    model = ForecasterConfig(hidden=64, scaling="training")
    training = ExamplesConfig(batch=128, lr=4e-3, weight_decay=0.0, steps=1500)
    return RunConfig(task="forecast", data=data, model=model, training=training, recipe="ball")


def _recipe(name: str, data: DatasetConfig, model: Any, **training: Any) -> RunConfig:
    """Average the weights, and keep the last, so that no part of the data chooses among them."""
    settings = {"average": 0.998, "keep": "last", **training}
    return RunConfig(task=data.task, data=data, model=model, training=ExamplesConfig(**settings), recipe=name)


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "sst2": sst2,
    "names": names,
    "digits": digits,
    "addition": addition,
    "french": french,
    "truecase": truecase,
    "emoji": emoji,
    "mnist": mnist,
    "etth1": etth1,
    "airline": airline,
    "ball": ball,
}
