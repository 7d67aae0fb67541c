"""An estimator that forecasts: rows of a table are the past, its targets what comes next."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from recurra.data.series import Series, SeriesData, SeriesFormat
from recurra.errors import ConfigError
from recurra.estimators.base import Estimator

__all__ = ["Forecaster"]

FIXED = ("valid", "target", "time", "series", "covariates", "calendar", "gaps", "rows", "test", "horizon", "context")
"""Settings of series that come out of X and y here, or that mean nothing without dates."""


class Forecaster(RegressorMixin, Estimator):
    """`recurra.Forecaster` as a regressor of scikit-learn: from the last values of a series to the next ones.

    Attributes after `fit`:
        model_: the forecaster, whose `observe` and `forecast` go on in constant memory.
        metrics_: the lines of metrics of its training.
    """

    task = "forecast"

    def fit(self, X: Any, y: Any) -> Self:
        """Learn to go on.

        Args:
            X: (n, T) the last values before an origin in each row, the latest last.
            y: (n,) the next value, or (n, H) the next H.
        Returns: the estimator.
        Raises: DataError for a table that cannot be used; ConfigError for settings.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._is_flat = y.ndim == 1
        ahead = y[:, None] if self._is_flat else y
        config = self._run_config()
        if unknown := [name for name in FIXED if name in (self.settings or {})]:
            raise ConfigError(f"'{unknown[0]}' is no setting of this estimator: the table says it")
        season, transform = config.data.season or 1, config.data.transform
        format = SeriesFormat(season=season, transform=transform, horizon=ahead.shape[1], context=X.shape[1])
        series = [_series(n, np.concatenate([row, after])) for n, (row, after) in enumerate(zip(X, ahead, strict=True))]
        whole = len(series[0])
        self._train(config, SeriesData("table", config.data, format, series, [(whole, whole)] * len(series)))
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the means of the next values, (n,) or (n, H) as `fit` was given them."""
        return self._shaped([forecast.mean for forecast in self._forecast(X)])

    def predict_quantile(self, X: Any, level: float) -> NDArray[np.float64]:
        """Return the values below which the next ones lie with a probability.

        Args:
            level: 0.05, 0.1 … 0.95.
        Raises: ConfigError for another level.
        """
        forecasts = self._forecast(X)
        known = forecasts[0].quantiles
        if level not in known:
            raise ConfigError(f"'level' is one of {', '.join(map(str, known))}, not {level}")
        return self._shaped([forecast.quantiles[level] for forecast in forecasts])

    def _forecast(self, X: Any) -> list[Any]:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        forecasts: list[Any] = self.model_.predict([_series(n, row) for n, row in enumerate(X)])
        return forecasts

    def _shaped(self, values: list[Any]) -> NDArray[np.float64]:
        found = np.stack([value[:, 0] for value in values])
        return found[:, 0] if self._is_flat else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # The columns are moments of one series, not features of any kind, as the checks on regression have them.
        tags.regressor_tags.poor_score = True
        tags.target_tags.multi_output = True
        return tags


def _series(number: int, values: NDArray[np.float64]) -> Series:
    steps = len(values)
    return Series(f"row {number}", np.arange(float(steps)), values[:, None], np.zeros((steps, 0)))
