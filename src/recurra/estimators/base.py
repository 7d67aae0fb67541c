"""What the estimators share: settings as attributes, fitting through the trainer, inputs of any kind."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from recurra.data.examples import Dataset, Examples
from recurra.errors import ConfigError
from recurra.training import TASKS, Reporter, RunConfig, Trainer, default_config, make_reporter

__all__ = ["Estimator", "ExamplesEstimator", "holds_sequences"]


class Estimator(BaseEstimator):
    """What every estimator has: the settings that are searched most often, each by name, and room for all others.

    ``None`` leaves a setting as it is by default.

    Args:
        cell, hidden, layers, dropout: of the model.
        epochs, batch, lr: of the training.
        settings: any others of the task by name, as `recurra train` has them, such as ``{"pooling": "max"}``.
        random_state: an integer, a `numpy.random.RandomState`, or None for another result each time.
        verbose: show progress.
    """

    task: ClassVar[str]

    def __init__(
        self,
        *,
        cell: str | None = None,
        hidden: int | None = None,
        layers: int | None = None,
        dropout: float | None = None,
        epochs: int | None = None,
        batch: int | None = None,
        lr: float | None = None,
        settings: dict[str, Any] | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.cell = cell
        self.hidden = hidden
        self.layers = layers
        self.dropout = dropout
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.settings = settings
        self.random_state = random_state
        self.verbose = verbose

    def _run_config(self) -> RunConfig:
        """Return the settings of a run: all examples are trained on, and the last weights are kept."""
        names = ("cell", "hidden", "layers", "dropout", "epochs", "batch", "lr")
        chosen = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if doubled := chosen.keys() & (self.settings or {}).keys():
            raise ConfigError(f"'{min(doubled)}' is given both by itself and in settings; give it once")
        for name in ("task", "source"):
            if name in (self.settings or {}):
                raise ConfigError(f"'{name}' is no setting of an estimator, which learns from what `fit` is given")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        base = default_config(self.task).with_settings(valid=0.0, keep="last", seed=seed)
        return base.with_settings(**chosen, **(self.settings or {}))

    def _train(self, config: RunConfig, data: Any) -> None:
        """Build and train a model in a folder of its own, which is gone afterwards."""
        reporter = make_reporter() if self.verbose else Reporter()
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
            torch.manual_seed(config.training.seed)
            model = TASKS[self.task].make_model(config, data)
            run = Trainer(model, data, out=Path(folder) / "run", config=config.training, reporter=reporter).fit()
            self.model_, self.metrics_ = run.model, run.metrics


class ExamplesEstimator(Estimator):
    """An estimator whose model learns from examples.

    Attributes after `fit`:
        model_: the model, with the weights to use.
        metrics_: the lines of metrics of its training.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from inputs X what is to be said about each.

        Args:
            X: texts, lists of words, waveforms, pictures, or sequences of numbers: (n, T), (n, T, F), or a list of
                (T, F) of different lengths.
            y: as many targets.
        Returns: the estimator.
        Raises: DataError for inputs or targets that cannot be used; ConfigError for settings.
        """
        inputs, targets = self._inputs_and_targets(X, y)
        config = self._run_config()
        if isinstance(config.data.valid, str):
            raise ConfigError("'valid' is a fraction of what `fit` is given, not a file")
        settings = {name: value for name, value in vars(config.data).items() if name not in ("task", "source", "valid")}
        data = Dataset.from_examples(
            Examples(inputs, targets), task=self.task, valid=config.data.valid, **_given(settings)
        )
        self._train(config, data)
        return self

    def _inputs_and_targets(self, X: Any, y: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        return self._inputs(X, fitting=True), list(y)

    def _inputs(self, X: Any, *, fitting: bool) -> Sequence[Any]:
        """Return inputs one by one; a table of numbers is a sequence in each row."""
        if holds_sequences(X):
            return list(X)
        table: Any = validate_data(self, X, reset=fitting, dtype=np.float32, allow_nd=True)
        return list(table)

    def _predict(self, X: Any) -> list[Any]:
        check_is_fitted(self)
        predictions: list[Any] = self.model_.predict(self._inputs(X, fitting=False))
        return predictions


def holds_sequences(X: Any) -> bool:
    """Return whether X is a list of texts, of lists, or of arrays, rather than a table of numbers."""
    if isinstance(X, np.ndarray) and (X.ndim > 1 or X.dtype != object):
        return X.dtype.kind in "US" or (X.dtype == np.uint8 and X.ndim > 2)
    if not isinstance(X, list | tuple | np.ndarray) and not hasattr(X, "str"):
        return False
    first = next(iter(X), None)
    if isinstance(first, str | np.ndarray):
        return True
    if not isinstance(first, list | tuple):
        return False
    return any(isinstance(each, str) for each in first) or len({len(row) for row in X}) > 1


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
