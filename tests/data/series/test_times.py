import numpy as np
import pytest

from recurra.data.series.times import Clock, calendar


def times(*texts):
    return np.array(texts, "datetime64[us]")


@pytest.mark.parametrize(
    ("given", "step", "season", "after"),
    [
        (["1949-11", "1949-12"], "1 month", 12, "1950-01"),
        (["2000-01-01", "2000-04-01"], "3 months", 4, "2000-07-01"),
        (["2000-02-27", "2000-02-28"], "1 d", 7, "2000-02-29"),
        (["2000-02-28T22", "2000-02-28T23"], "1 h", 24, "2000-02-29T00"),
        (["2000-01-01T00:00", "2000-01-01T00:15"], "15 min", 1, "2000-01-01T00:30"),
        (["2000-01-01", "2000-01-08"], "7 d", 1, "2000-01-15"),
    ],
)
def test_clocks(given, step, season, after):
    clock = Clock.of(times(*given), "table")
    assert (clock.text, clock.season) == (step, season)
    assert clock.continued(times(*given), 1)[-1] == np.datetime64(after)
    assert clock.places(clock.continued(times(*given), 3), "table").tolist() == [0, 1, 2, 3, 4]


def test_numbers_may_be_rounded():
    given = np.round(np.arange(100) * 0.02, 2)
    clock = Clock.of(given, "table")
    assert clock.places(given, "table").tolist() == list(range(100))
    assert clock.continued(given, 2)[-1] == pytest.approx(101 * 0.02)


def test_cycles_are_those_seen_twice():
    hourly = Clock("time", 3600.0)
    assert hourly.cycles(47) == ()
    assert hourly.cycles(48) == ("day",)
    assert hourly.cycles(8640) == ("day", "week")
    assert Clock("month", 1.0).cycles(96) == ("year",)
    assert Clock("number", 1.0).cycles(96) == ()


def test_the_calendar_tells_where_in_a_cycle_a_time_lies():
    monday, noon = times("2024-01-01"), times("2024-01-01T12")
    np.testing.assert_allclose(calendar(monday, ("day", "week", "year")), [[0, 1, 0, 1, 0, 1]], atol=1e-9)
    np.testing.assert_allclose(calendar(noon, ("day",)), [[0, -1]], atol=1e-9)
    assert calendar(monday, ()).shape == (1, 0)


def test_last_days_of_months_are_months():
    days = np.array(["2023-10-31", "2023-11-30", "2023-12-31", "2024-01-31", "2024-02-29"], "datetime64[us]")
    clock = Clock.of(days, "here")
    assert (clock.unit, clock.step, clock.season, clock.text) == ("month end", 1.0, 12, "1 month")
    assert clock.places(days, "here").tolist() == [0, 1, 2, 3, 4]
    assert [str(day)[:10] for day in clock.continued(days[-1:], 3)[1:]] == ["2024-03-31", "2024-04-30", "2024-05-31"]
    quarters = np.array(["2023-12-31", "2024-03-31", "2024-06-30", "2024-09-30"], "datetime64[us]")
    clock = Clock.of(quarters, "here")
    assert (clock.step, clock.season) == (3.0, 4)
    assert str(clock.continued(quarters, 1)[-1])[:10] == "2024-12-31"
