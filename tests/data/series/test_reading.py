import numpy as np
import pytest

from recurra.data.series import SeriesConfig, SeriesData, read_series
from recurra.errors import ConfigError, DataError


def read(source, **settings):
    return read_series(SeriesConfig(source=source, **settings))


def test_the_last_column_is_forecast_and_the_times_are_found_by_name(table, hours):
    found = read(table(date=hours(3), load=[1, 2, 3], oil=[4, 5.5, 7]))
    assert (found.targets, found.clock.unit, found.clock.step, found.clock.season) == (("oil",), "time", 3600.0, 24)
    np.testing.assert_array_equal(found.series[0].values, [[4], [5.5], [7]])
    assert found.series[0].times[1] == np.datetime64("2016-07-01T01")
    assert found.series[0].name == "table"


def test_several_targets_and_covariates(table, hours):
    found = read(table(date=hours(3), a=[1, 2, 3], b=[4, 5, 6], p=[7, 8, 9]), target="b, a", covariates="p")
    np.testing.assert_array_equal(found.series[0].values, [[4, 1], [5, 2], [6, 3]])
    np.testing.assert_array_equal(found.series[0].covariates, [[7], [8], [9]])


def test_several_series_in_one_file(table):
    path = table(time=[0, 0.02, 0, 0.02, 0.04], ball=["b", "b", "a", "a", "a"], x=[1, 2, 3, 4, 5])
    found = read(path, series="ball")
    assert [(one.name, one.values[:, 0].tolist()) for one in found.series] == [("b", [1, 2]), ("a", [3, 4, 5])]


def test_rows_without_targets_at_the_end_are_the_future(table):
    found = read(table(time=range(5), p=[1, 2, 3, 4, 5], y=[1, 2, 4, "", ""]), covariates="p").series[0]
    assert len(found) == 3
    assert found.covariates[:, 0].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"a": [1, 2], "b": [1, 3]}, {}, r"no time column .* name one with --time: a, b"),
        ({"time": [1, 2], "b": [1, 3]}, {"time": "tine"}, "no column 'tine'; did you mean 'time'"),
        ({"time": [1, 2], "load": [1, 3]}, {"target": "laod"}, "no column 'laod'; did you mean 'load'"),
        (
            {"time": [1, 2], "load": [1, 3]},
            {"covariates": "load", "target": "load"},
            "'load' is asked for in two roles",
        ),
        ({"time": [1, 3, 2], "y": [1, 3, 4]}, {}, "the time 2 in row 3 comes after a later one; sort"),
        ({"time": [1, 2, 2], "y": [1, 3, 4]}, {}, "the time 2 in row 3 comes twice"),
        ({"time": [1, 2, 3, 6], "y": [1, 3, 4, 5]}, {}, "2 times are missing, the first after 3; fill"),
        ({"time": [1, 2, 3, 3.5], "y": [1, 3, 4, 5]}, {}, r"row 4 \(3.5\) lies between two steps"),
        ({"time": [1, 2, 3], "y": [1, "", 4]}, {}, "1 cell is empty, the first in row 2 of 'y'; fill"),
        ({"time": [1, 2, 3], "y": ["", "", 4]}, {}, "2 cells are empty, the first in row 1 of 'y'"),
        ({"time": [1, 2, 3], "y": [1, "x", 4]}, {}, "row 2 of 'y' is 'x', which is no number"),
        ({"time": [1, "x", 3], "y": [1, 2, 4]}, {}, "row 2 of 'time' is 'x', which is no date"),
        ({"time": [1, 2, 3], "y": [4, 4, 4]}, {}, "'y' is 4 in every row; there is nothing to learn"),
        ({"time": [1, 2, 3], "y": [4, 0, 4]}, {"transform": "log"}, "'y' is 0 in row 2, and logarithms"),
        ({"time": [1], "y": [4]}, {}, "has 1 rows; a series needs at least two"),
        ({"time": [], "y": []}, {}, "holds no rows"),
        ({"time": [1, 2]}, {}, "no column beside the times"),
        ({"time": [1, 2, 3, 4], "y": [1, 2, 3, 5]}, {"horizon": 5, "valid": 0}, "fewer than context"),
        (
            {"time": range(9), "y": range(9)},
            {"horizon": 5, "valid": 2},
            "valid has 2 rows of 9, fewer than the horizon",
        ),
        ({"time": range(9), "y": range(9)}, {"valid": 6, "test": 3}, "none is left to train on"),
    ],
)
def test_bad_input_is_one_clear_line(table, columns, settings, message):
    with pytest.raises(DataError, match=message) as raised:
        SeriesData.build(SeriesConfig(source=table(**columns), **settings))
    assert "\n" not in str(raised.value)


def test_bad_settings_are_one_clear_line():
    for settings, message in (({"horizon": 0}, "horizon"), ({"transform": "lag"}, "'log'"), ({"valid": 1.5}, "valid")):
        with pytest.raises(ConfigError, match=message):
            SeriesConfig(source="x", **settings)


def test_gaps_and_a_future_in_one_file(table):
    path = table(time=[0, 1, 3, 4, 6], p=[1, 2, 4, "", 7], y=[1, "", 7, "", ""])
    found = read(path, covariates="p", gaps="fill").series[0]
    assert found.values[:, 0].tolist() == [1, 3, 5, 7]
    assert found.covariates[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_a_file_that_is_not_there_or_no_table(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read(str(tmp_path / "none.csv"))
    path = tmp_path / "bad.csv"
    path.write_text('time,y\n1,2\n3,"4')
    with pytest.raises(DataError, match="cannot read"):
        read(str(path))


def test_gaps_are_filled_by_straight_lines_and_said(table):
    found = read(table(time=[0, 1, 2, 5], y=[0, "", 4, 10]), gaps="fill")
    assert found.series[0].values[:, 0].tolist() == [0, 2, 4, 6, 8, 10]
    assert found.series[0].times.tolist() == [0, 1, 2, 3, 4, 5]
    assert "filled 3 missing values" in found.notes[0]
