import math

import numpy as np
import pytest

from recurra.figures.series import first_failure, read_series, smoothed

ROWS = [
    {"step": 20, "loss_nats": 2.0},
    {"step": 10, "loss_nats": 3.0, "lr": 1},
    {"step": 30, "loss_nats": math.nan},
    {"step": 40, "loss_nats": None},
]


def test_rows_without_a_finite_value_are_left_out_and_steps_rise():
    steps, values = read_series(ROWS, "loss_nats")
    assert steps.tolist() == [10, 20]
    assert values.tolist() == [3, 2]
    assert [len(part) for part in read_series(ROWS, "grad_norm")] == [0, 0]


def test_the_first_failure_is_a_value_that_is_no_number():
    assert first_failure(ROWS, "loss_nats") == 30
    assert first_failure(ROWS, "lr") is None


@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
@pytest.mark.parametrize("share", [0.04, 0.2, 1.0])
def test_smoothing_is_the_mean_of_a_window(size, share):
    rows = [{"step": i, "x": float(i * i % 7)} for i in range(size)]
    series = read_series(rows, "x")
    reach = int(size * share / 2)
    wanted = [np.mean(series.values[max(0, i - reach) : i + min(i, reach) + 1]) for i in range(size)]
    np.testing.assert_allclose(smoothed(series, share).values, wanted, rtol=1e-12, atol=1e-12)


def test_smoothing_keeps_what_is_constant():
    series = read_series([{"step": i, "x": 2.5} for i in range(100)], "x")
    np.testing.assert_allclose(smoothed(series, 0.3).values, 2.5)
