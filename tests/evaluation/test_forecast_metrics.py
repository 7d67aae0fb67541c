"""Scores of forecasts against what defines them."""

import numpy as np
import pytest
import torch

from recurra.evaluation.forecast_metrics import (
    crps_of_paths,
    crps_of_quantiles,
    errors,
    interval_scores,
    naive_error,
    pinball,
)
from recurra.models.distributions import LEVELS

NORMAL = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)


def gaussian_crps(mean, deviation, came):
    """The closed form, Gneiting & Raftery 2007, eq. 21."""
    z = torch.as_tensor((came - mean) / deviation)
    density, below = NORMAL.log_prob(z).exp(), NORMAL.cdf(z)
    return (deviation * (z * (2 * below - 1) + 2 * density - np.pi**-0.5)).numpy()


def test_crps_of_paths_is_the_closed_form_of_a_gaussian():
    paths = np.random.default_rng(0).normal(1.0, 2.0, 200_000)
    for came in (-2.0, 0.0, 0.3, 4.0):
        expected = float(gaussian_crps(1.0, 2.0, came))
        assert crps_of_paths(paths, np.array(came)) == pytest.approx(expected, abs=0.02)


def test_crps_of_paths_is_its_definition():
    random = np.random.default_rng(0)
    paths, came = random.normal(size=(7, 3, 2)), random.normal(size=(3, 2))
    pairs = np.abs(paths[:, None] - paths[None]).sum((0, 1)) / (7 * 6)
    assert crps_of_paths(paths, came) == pytest.approx((np.abs(paths - came).mean(0) - pairs / 2).mean())
    assert crps_of_paths(paths[:1], came) == pytest.approx(np.abs(paths[0] - came).mean())


def test_crps_of_quantiles_is_near_the_closed_form_of_a_gaussian():
    came = np.random.default_rng(0).normal(1.0, 2.0, 5000)
    icdf = {level: np.full(5000, 1 + 2 * float(NORMAL.icdf(torch.tensor(level)))) for level in LEVELS}
    expected = float(gaussian_crps(1.0, 2.0, came).mean())
    assert crps_of_quantiles(icdf, came) == pytest.approx(expected, rel=0.02)
    scores = interval_scores(icdf, came)
    for share, name in ((50, "coverage_50"), (80, "coverage_80"), (90, "coverage")):
        assert scores[name] == pytest.approx(share / 100, abs=0.02)


def test_pinball_by_hand():
    np.testing.assert_allclose(pinball(0.9, np.array([1.0, 1.0]), np.array([3.0, 0.0])), [1.8, 0.1])


def test_errors_by_hand():
    forecast, came = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [6.0, 4.0]])
    found = errors(forecast, came)
    assert found == pytest.approx({"mse": 13 / 4, "mae": 5 / 4, "rmse": (13 / 4) ** 0.5})
    past = [np.array([[0.0, 0.0], [1.0, 2.0], [0.0, 4.0]])]  # changes of 1 and 2, deviations of √2/3 and √8/3
    found = errors(forecast, came, past)
    assert found["mase"] == pytest.approx((0 + 3 + 1 + 0) / 4)
    assert found["standard_mse"] == pytest.approx((9 / (2 / 9) + 4 / (8 / 3)) / 4)
    assert found["standard_mae"] == pytest.approx((3 / (2 / 9) ** 0.5 + 2 / (8 / 3) ** 0.5) / 4)


def test_the_naive_error_is_the_mean_change_over_a_season():
    series = [np.array([[0.0], [1.0], [4.0], [9.0]]), np.array([[5.0], [5.0], [2.0]])]
    assert naive_error(series, 2).item() == pytest.approx((4 + 8 + 3) / 3)
    assert naive_error(series, 1).item() == pytest.approx((1 + 3 + 5 + 0 + 3) / 5)
