"""Schedules: the closed forms against dynamic programming, and what a budget buys."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import pytest

from recurra.engine.policies.schedule import MOST_RUNS, NEAR_BEST, Cost, advances, best_middle, make_schedule
from recurra.errors import BackpropError


@lru_cache(None)
def fewest(segments, states):
    """Untaped runs to tape all segments from the last to the first: Gruslys et al. 2016, by trying everything."""
    if segments <= 1:
        return 0
    if states == 0:
        return segments * (segments - 1) // 2
    return min(y + fewest(segments - y, states - 1) + fewest(y, states) for y in range(1, segments))


def by_our_choice(segments, states):
    if segments <= 1:
        return 0
    if states == 0:
        return segments * (segments - 1) // 2
    y = best_middle(segments, states)
    assert 1 <= y < segments
    return y + by_our_choice(segments - y, states - 1) + by_our_choice(y, states)


@pytest.mark.parametrize("states", range(9))
def test_closed_forms_are_the_optimum(states):
    for segments in range(1, 40):
        assert advances(segments, states) == fewest(segments, states) == by_our_choice(segments, states)


@pytest.mark.parametrize(("states", "runs"), [(5, 7.28), (10, 4.64), (20, 3.75), (50, 2.95)])
def test_runs_of_a_thousand_steps(states, runs):
    """Forward passes per step with so many states kept, the first included."""
    assert (advances(1000, states - 1) + 1000) / 1000 == pytest.approx(runs, abs=0.005)


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 10_000])
@pytest.mark.parametrize("share", [2.0, 0.6, 0.2, 0.05, 0.02])
def test_schedules_keep_to_their_budget(steps, share):
    cost = Cost(state=16_384, fixed=1000, step=57_000)
    budget = int(share * cost.tape(steps))
    try:
        schedule = make_schedule(steps, budget, cost)
    except BackpropError:
        assert steps < 1000
        return
    assert schedule.memory_bytes <= budget
    assert schedule.states * cost.state + min(schedule.taped, 1) * cost.tape(schedule.length) <= budget
    assert sum(b - a for a, b in schedule.spans()) == steps
    assert schedule.runs <= MOST_RUNS
    if share > 1:
        assert schedule.runs == 1


def test_more_memory_never_costs_more_runs():
    cost = Cost(state=16_384, fixed=0, step=57_000)
    runs = [make_schedule(10_000, int(budget), cost).runs for budget in (3e6, 6e6, 1e7, 3e7, 1e8, 3e8, 6e8)]
    assert all(more <= NEAR_BEST * less for less, more in pairwise(runs))
    assert runs[2] < 2.05
    assert runs[-1] == 1


def test_a_budget_that_cannot_work_names_one_that_can():
    cost = Cost(state=2**14, fixed=2**12, step=2**16)
    with pytest.raises(BackpropError, match=r"1,000 steps do not fit 32.0 KiB; give at least (\d+\.\d) KiB") as error:
        make_schedule(1000, 2**15, cost)
    smallest = float(str(error.value).split("give at least ")[1].split()[0]) * 1024
    assert make_schedule(1000, int(smallest), cost).runs <= MOST_RUNS
    with pytest.raises(BackpropError):
        make_schedule(1000, int(smallest - 200), cost)


def test_schedules_say_what_they_cost():
    cost = Cost(state=16_384, fixed=0, step=57_000)
    assert "nothing is computed twice" in str(make_schedule(10, 10**9, cost))
    assert "forward passes instead of 1" in str(make_schedule(10_000, 10**7, cost))
