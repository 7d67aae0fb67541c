"""Back-tests: every origin, nothing from the future, and baselines that are what they say."""

import numpy as np
import pytest
import torch

from recurra.data.series import Series, SeriesFormat, Windows
from recurra.errors import DataError
from recurra.evaluation import backtest, baselines
from recurra.models import Forecaster

FORMAT = SeriesFormat(season=4, horizon=3, context=12)


@pytest.fixture
def series():
    values = np.random.default_rng(0).normal(size=(80, 1)).cumsum(0)
    return Series("walk", np.arange(80.0), values, np.zeros((80, 0)))


@pytest.fixture
def model(series):
    torch.manual_seed(0)
    model = Forecaster(FORMAT, hidden=4)
    model.fit_input(Windows([series], FORMAT, [(0, 50)]))
    return model


def test_baselines_by_hand():
    past = np.array([5.0, 0.0, 1.0, 4.0, 9.0])[:, None, None]
    found = {name: forecast[:, 0, 0].tolist() for name, forecast in baselines(past, 3, 2).items()}
    assert found["last value"] == [9, 9, 9]
    assert found["seasonal naive"] == [4, 9, 4]
    assert found["constant velocity"] == [10, 11, 12]
    assert set(baselines(past[:4], 3)) == {"last value"}


def test_a_parabola_goes_on_as_one():
    steps = np.arange(-6, 5.0)
    curve = (2 - 3 * steps + 0.5 * steps**2)[:, None, None] * np.array([1.0, -2.0])
    np.testing.assert_allclose(baselines(curve[:7], 4)["parabola"], curve[7:], rtol=1e-9, atol=1e-9)
    noisy = curve[:7] + np.random.default_rng(0).normal(size=(7, 1, 2))
    expected = [np.polyval(np.polyfit(np.arange(-4, 1), noisy[-5:, 0, n], 2), np.arange(1, 5)) for n in (0, 1)]
    np.testing.assert_allclose(baselines(noisy, 4)["parabola"][:, 0], np.stack(expected, 1), rtol=1e-6, atol=1e-9)


def test_every_origin_is_forecast_from_what_was_known_there(model, series):
    windows = Windows([series], FORMAT, [(50, 80)])
    told = []
    found = backtest(model, windows, batch=10, progress=lambda done, of: told.append((done, of)))
    assert (found["windows"], told[-1]) == (28, (28, 28))
    missed = []
    for origin in range(50, 78):
        (said,) = model.predict([series.until(origin)])
        missed.append(said.mean - series.values[origin : origin + 3])
    assert found["metrics"]["mse"] == pytest.approx(np.square(missed).mean(), rel=1e-4)
    assert found["by_step"] == pytest.approx(np.sqrt(np.square(missed).mean((0, 2))).tolist(), rel=1e-4)
    last = [series.values[origin : origin + 3] - series.values[origin - 1] for origin in range(50, 78)]
    assert found["baselines"]["last value"]["mae"] == pytest.approx(np.abs(last).mean())


def test_strides_units_and_true_values(model, series):
    windows, train = Windows([series], FORMAT, [(50, 80)]), Windows([series], FORMAT, [(0, 50)])
    plain = backtest(model, windows, train=train)
    deviation = series.values[:50].std()
    assert plain["metrics"]["standard_mse"] == pytest.approx(plain["metrics"]["mse"] / deviation**2)
    assert plain["metrics"]["standard_mae"] == pytest.approx(plain["metrics"]["mae"] / deviation)
    assert backtest(model, windows)["metrics"].keys() < plain["metrics"].keys()
    seasonal = np.abs(series.values[4:50] - series.values[:46]).mean()
    assert plain["metrics"]["mase"] == pytest.approx(plain["metrics"]["mae"] / seasonal)
    assert backtest(model, windows, stride=10)["windows"] == 3
    moved = Windows([Series("true", series.times, series.values + 100, series.covariates)], FORMAT, [(50, 80)])
    assert backtest(model, windows, against=moved)["baselines"]["last value"]["rmse"] > 90


def test_bad_input_is_one_clear_line(model, series):
    windows = Windows([series], FORMAT, [(50, 80)])
    with pytest.raises(DataError, match="no window to test on"):
        backtest(model, Windows([series], FORMAT, [(79, 80)]))
    with pytest.raises(DataError, match="28 windows, and 3 of true values"):
        backtest(model, windows, against=Windows([series], FORMAT, [(50, 55)]))
