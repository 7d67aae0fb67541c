"""A language model that goes on to another text: fine-tuning, with a vocabulary that grows."""

from __future__ import annotations

from dataclasses import asdict

from recurra.data import Corpus, DataConfig
from recurra.errors import ConfigError
from recurra.models import LanguageModel
from recurra.models.growth import NOISE, check_same_shape
from recurra.training.config import RunConfig, TrainingConfig
from recurra.training.run import Run

__all__ = ["FINE_TUNING", "adapt", "adapted_config"]

FINE_TUNING = {"schedule": "slanted", "layer_decay": 2.6, "unfreeze": 1.0, "lr": 5e-3}
"""Settings of training where nothing else is asked for. Source: Howard & Ruder 2018; the rate is our own."""


def adapted_config(run: Run) -> RunConfig:
    """Return the settings with which a language model goes on to another text, where nothing else is asked for.

    Raises: ConfigError for a run of another task; RunError for one whose weights are not those of training.
    """
    if run.config.task != "lm":
        raise ConfigError(
            f"{run.path} is a run of --task {run.config.task}, and only a language model can go on to another text"
        )
    run.check_trainable()
    return RunConfig(
        data=DataConfig(tokenizer=run.tokenizer.kind),
        model=run.config.model,
        training=TrainingConfig(**FINE_TUNING),  # type: ignore[arg-type]
        origin=run.as_origin(),
    )


def adapt(run: Run, config: RunConfig) -> tuple[LanguageModel, Corpus]:
    """Return the model of a run for the corpus that the settings describe, and that corpus; the vocabulary grows.

    Raises: ConfigError if the settings ask for another tokenizer, or for a model of another shape; RunError for a run
        whose weights are not those of training.
    """
    run.check_trainable()
    if config.data.tokenizer not in (None, run.tokenizer.kind):
        raise ConfigError(
            f"{run.path} reads its text as {run.tokenizer.kind}, and cannot go on as {config.data.tokenizer}; "
            f"leave out --tokenizer"
        )
    if run.tokenizer.labels and config.data.condition is None:
        raise ConfigError(
            f"{run.path} writes texts by label; give a table of labelled texts, and its --condition COLUMN"
        )
    if config.data.condition is not None and not run.tokenizer.labels:
        raise ConfigError(f"{run.path} knows no labels, and learns none; leave out --condition")
    model = asdict(config.model)
    check_same_shape(run.config.model, model)
    corpus = Corpus.build(config.data, tokenizer=run.tokenizer, grow=True)
    return run.model.grown(corpus.tokenizer, **{name: model[name] for name in NOISE}), corpus
