"""What is timed is called in the right order and often enough; no clock is asserted upon."""

import pytest

from recurra.benchmarks import geometric_mean, interleave, median_ratio, timing


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(timing, "BLOCK_S", 1e-9)
    monkeypatch.setattr(timing, "SETTLE_S", 0.0)


def test_every_callable_is_read_once_a_round_and_the_order_turns():
    order = []
    readings = interleave({name: lambda name=name: order.append(name) for name in "abc"}, rounds=2)
    assert {name: len(seconds) for name, seconds in readings.items()} == {"a": 2, "b": 2, "c": 2}
    assert all(second >= 0 for seconds in readings.values() for second in seconds)
    assert order[:6] == ["a", "a", "b", "b", "c", "c"]  # to warm up
    assert order[-6:] == ["a", "b", "c", "c", "b", "a"]


def test_what_is_short_is_called_several_times_for_a_reading(monkeypatch):
    monkeypatch.setattr(timing, "BLOCK_S", 0.01)
    calls = []
    interleave({"short": lambda: calls.append(1)}, rounds=1)
    assert len(calls) > 100


def test_rounds_follow_the_budget(monkeypatch):
    monkeypatch.setattr(timing, "BUDGET_S", 0.0)
    assert len(interleave({"a": lambda: None})["a"]) == timing.LEAST_ROUNDS
    monkeypatch.setattr(timing, "BUDGET_S", 1e9)
    assert len(interleave({"a": lambda: None})["a"]) == timing.MOST_ROUNDS


def test_the_collector_of_garbage_is_as_before():
    import gc

    assert gc.isenabled()
    interleave({"a": lambda: None}, rounds=1)
    assert gc.isenabled()


def test_a_ratio_is_taken_round_by_round():
    # The machine was ten times slower in the last round, for both.
    assert median_ratio([1.0, 1.0, 10.0], [2.0, 2.0, 20.0]) == 2.0


def test_the_mean_of_ratios_is_geometric():
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert geometric_mean([]) is None
