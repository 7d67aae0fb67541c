"""Fixed points of maps that are known by heart, and what becomes of orbits whose end is known."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import nn

from recurra.cells import CELLS, Elman, IndRNN
from recurra.data.tokenizers import build_tokenizer
from recurra.errors import ConfigError, CorpusError, EngineError, ShapeError
from recurra.inspection.attractors import find_fixed_points, measure_behaviour
from recurra.inspection.fixed_points import settle
from recurra.inspection.jacobian import BareStep, StateMap
from recurra.layers import Stack
from recurra.models import LanguageModel

PLACE = 1e-6
"""How far a point may be from where it is known to be: the search ends at a step of 1e-10, and none is near a fold."""
RADIUS = 1e-4
"""Share by which an eigenvalue may be off that is found by squaring."""
TEXT = "the quick brown fox jumps over the lazy dog; the dog sleeps on.\n" * 3


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def elman(U, **options):
    cell = Elman(2, len(U), bias=False, **options)
    with torch.no_grad():
        cell.U.copy_(U)
    return cell


def rest_of(gain):
    """The positive solution of a = tanh(gain a)."""
    a = 1.0
    for _ in range(200):
        a = math.tanh(gain * a)
    return a


def turn(angle, gain=1.0):
    c, s = gain * math.cos(angle), gain * math.sin(angle)
    return torch.tensor([[c, -s], [s, c]])


def assert_are(points, wanted):
    assert sorted(tuple(round(a / PLACE) for a in p.state) for p in points) == sorted(
        tuple(round(a / PLACE) for a in state) for state in wanted
    )


def test_a_bistable_pair_has_two_stable_points_and_an_unstable_one():
    W = torch.tensor([[0.5, 1.5], [1.5, 0.5]]).double()
    points = find_fixed_points(lambda h: torch.tanh(h @ W.mT), 0.7 * random(60, 2))
    a = rest_of(2.0)
    assert_are(points, [(a, a), (-a, -a), (0, 0)])
    assert [point.stable for point in points] == [True, True, False]
    assert points[0].largest_eigenvalue == pytest.approx(2 * (1 - a * a), rel=RADIUS)
    assert points[2].largest_eigenvalue == pytest.approx(2, rel=RADIUS)
    assert all(point.speed < PLACE for point in points)


def test_two_bistable_units_have_nine_points():
    points = find_fixed_points(lambda h: torch.tanh(1.5 * h), random(200, 2))
    a = rest_of(1.5)
    assert_are(points, itertools.product((-a, 0, a), repeat=2))
    assert [point.stable for point in points] == [True] * 4 + [False] * 5
    at_zero = [sum(abs(entry) < PLACE for entry in point.state) for point in points]
    assert sorted(at_zero) == [0] * 4 + [1] * 4 + [2]


def test_three_bistable_units_have_27_points():
    points = find_fixed_points(lambda h: torch.tanh(1.5 * h), random(600, 3))
    assert_are(points, itertools.product((-rest_of(1.5), 0, rest_of(1.5)), repeat=3))


def test_a_slow_point_is_no_fixed_point():
    """x² + x + ε passes 0 slowly and has no fixed point; the search ends at its slowest place."""
    assert find_fixed_points(lambda s: s + s * s + 1e-4, random(20, 1)) == []


def test_a_point_at_infinity_is_no_fixed_point():
    assert find_fixed_points(lambda s: s + torch.exp(-s), random(20, 1)) == []


def test_points_of_a_plane_that_stays_are_kept_apart_and_counted_no_further_than_asked():
    starts = random(30, 3)
    points = find_fixed_points(lambda s: s * torch.tensor([1.0, 1.0, 0.5]).double(), starts, most=7)
    assert len(points) == 7
    assert all(abs(point.state[2]) < PLACE and not point.stable for point in points)
    assert all(point.largest_eigenvalue == pytest.approx(1, rel=RADIUS) for point in points)


@pytest.mark.parametrize("size", [1, 3, 80])
def test_a_linear_map_has_one_point_however_unstable(size):
    A, b = 2 * random(size, size) / size**0.5, random(size, seed=1)
    (point,) = find_fixed_points(lambda s: s @ A.mT + b, random(5, size, seed=2))
    wanted = torch.linalg.solve(torch.eye(size).double() - A, b)
    torch.testing.assert_close(torch.tensor(point.state).double(), wanted, rtol=PLACE, atol=PLACE)


def test_a_search_ends_when_its_work_is_done():
    step = StateMap(BareStep(lambda _, s: (s, torch.tanh(1.5 * s)), random(1, 2)), torch.zeros(1, 1))
    states, x = random(40, 2), torch.zeros(40, 1)
    assert not settle(step, x, states, work=0)[1].any()
    assert settle(step, x, states)[1].sum() > 35


def test_starts_must_be_states():
    with pytest.raises(ShapeError, match=r"\(M, S\)"):
        find_fixed_points(torch.tanh, torch.zeros(3))


def test_a_map_without_derivative_is_told_in_a_line():
    with pytest.raises(EngineError, match="derivative"):
        find_fixed_points(lambda s: s.detach() / 2, torch.ones(1, 2))


def still_behaviour(cell, inputs=None, **options):
    inputs = 0.5 * random(80, 2).float() if inputs is None else inputs
    return measure_behaviour(cell, inputs, **options)[0]


def test_a_contracting_network_settles_to_a_point():
    found = still_behaviour(elman(0.9 * torch.linalg.qr(random(12, 12)).Q))
    assert (found.kind, found.period, found.exponent, found.input) == ("settles to a point", None, None, "no input")
    (point,) = found.points
    assert point.stable
    assert max(map(abs, point.state)) < PLACE


def test_points_of_a_network_are_those_of_its_map():
    found = still_behaviour(elman(torch.tensor([[0.5, 1.5], [1.5, 0.5]])))
    a = rest_of(2.0)
    assert found.kind == "settles to a point"
    assert_are(found.points, [(a, a), (-a, -a), (0, 0)])
    assert [point.stable for point in found.points] == [True, True, False]


def test_a_slow_spiral_settles():
    found = still_behaviour(elman(turn(0.3, 0.9999)), 2 * torch.ones(80, 2), steps=600)
    assert found.kind == "settles to a point"


@pytest.mark.parametrize(("angle", "period"), [(2 * math.pi / 7, 7), (math.pi / 2, 4), (math.pi, 2)])
def test_a_rotation_oscillates(angle, period):
    found = still_behaviour(elman(turn(angle, 1.3)))
    assert found.kind == "oscillates"
    assert found.period == period
    assert found.exponent < 0.005
    assert not any(point.stable for point in found.points)


class Wheel(nn.Module):
    """Turns by an angle, on a circle that every orbit but 0 tends to."""

    def __init__(self, angle):
        super().__init__()
        self.U = nn.Parameter(turn(angle))

    def step(self, x, state):
        length = state.norm(dim=1, keepdim=True)
        h = state @ self.U.mT * torch.tanh(1.5 * length) / (length + 1e-12)
        return h, h

    def zero_state(self, batch):
        return self.U.new_ones(batch, 2)


@pytest.mark.parametrize(("turns", "period"), [(20.3, 20), (33.4, 33), (1000, None)])
def test_an_orbit_that_never_comes_back_exactly_oscillates_with_the_time_of_a_turn(turns, period):
    found = still_behaviour(Wheel(2 * math.pi / turns))
    assert (found.kind, found.period) == ("oscillates", period)


@pytest.mark.parametrize(
    ("gain", "seed"), [(3.0, 0), *(pytest.param(g, n, marks=pytest.mark.slow) for g in (2.0, 2.5, 3.0) for n in (1, 2))]
)
def test_a_random_network_of_large_gain_is_chaotic(gain, seed):
    found = still_behaviour(elman(gain * random(100, 100, seed=seed) / 10), starts=2)
    assert found.kind == "is chaotic"
    assert 0.02 < found.exponent < 0.7
    assert found.period is None


@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_network_of_small_gain_is_not(seed):
    found = still_behaviour(elman(0.7 * random(120, 120, seed=seed) / 120**0.5), starts=3)
    assert found.kind == "settles to a point"


class Counter(nn.Module):
    """Counts steps."""

    def step(self, x, state):
        return state, state + 0.01

    def zero_state(self, batch):
        return torch.zeros(batch, 1)


def test_what_grows_for_ever_is_told_so():
    cell = elman(torch.tensor([[1.2]]), nonlinearity="relu")
    with torch.no_grad():
        cell.W.fill_(1.0)
    for grows in (cell, Counter()):
        found = still_behaviour(grows, torch.ones(80, 2))
        assert found.kind == "grows without bound"
        json.dumps(asdict(found), allow_nan=False)


def test_a_held_input_moves_the_point():
    cell = IndRNN(2, 1, bias=False)
    with torch.no_grad():
        cell.u.fill_(0.5)
        cell.W.fill_(1.0)
    nothing, held = measure_behaviour(cell, torch.tensor([[1.0, 0.0], [3.0, 2.0]]).repeat(20, 1))
    assert (nothing.input, held.input) == ("no input", "the mean input")
    assert nothing.points[0].state == pytest.approx([0], abs=PLACE)
    assert held.points[0].state == pytest.approx([6])


def test_orbits_are_drawn_in_the_plane_that_they_move_in():
    U = torch.block_diag(turn(0.5, 1.3), torch.zeros(6, 6))
    found = still_behaviour(elman(U))
    assert found.explained == pytest.approx(1, abs=0.1)
    assert len(found.trajectories) == 6
    radii = [math.hypot(*place) for place in found.trajectories[0][-60:]]
    assert max(radii) < 1.5 * min(radii)
    assert len(found.places) == len(found.points)
    assert found.places[-1] == pytest.approx((0, 0), abs=0.2)


def model_of(cell, layers=2):
    torch.manual_seed(3)
    tokenizer = build_tokenizer("char", [TEXT])
    model = LanguageModel(tokenizer, cell=cell, hidden=5, layers=layers)
    return model, torch.as_tensor(tokenizer.encode(TEXT)).long()


@pytest.mark.parametrize("name", sorted(CELLS))
def test_every_cell_of_the_box_is_measured(name):
    model, ids = model_of(name, layers=1)
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    found = measure_behaviour(model.train(), ids, steps=300, starts=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert [one.input for one in found] == ["no input", "' '", "'e'"]
    assert [len(one.trajectories) for one in found] == [3, 3, 3]
    json.dumps([asdict(one) for one in found], allow_nan=False)
    size = sum(leaf.numel() for leaf in torch.utils._pytree.tree_leaves(model.zero_state(1)))
    assert all(len(point.state) == size for one in found for point in one.points)


def test_is_the_same_twice():
    model, ids = model_of("gru")
    assert measure_behaviour(model, ids, steps=300) == measure_behaviour(model, ids, steps=300)


def test_points_of_a_stack_are_fixed_under_its_own_step():
    model, ids = model_of("gru")
    for found, token in zip(measure_behaviour(model, ids), [None, " ", "e"], strict=True):
        x = torch.zeros(1, 5) if token is None else model.embedding(torch.tensor(model.vocabulary.encode(token)).long())
        for point in found.points:
            state = model.zero_state(1)
            flat = torch.tensor(point.state).split(5)
            state = tuple(type(layer)(part.unsqueeze(0)) for layer, part in zip(state, flat, strict=True))
            _, following = model.stack.step(x, state)
            for old, new in zip(state, following, strict=True):
                torch.testing.assert_close(new.h, old.h)


class Looking(Elman):
    """Branches on a number, which vmap refuses."""

    def step(self, x, state):
        output, state = super().step(x, state)
        return (output, state) if state.h.sum().item() < 1e9 else (-output, state)


def test_a_users_step_that_cannot_be_vectorised_is_measured():
    cell = Looking(2, 3)
    assert still_behaviour(Stack([cell, Elman(3, 3)])).kind == "settles to a point"


@pytest.mark.parametrize("length", [1, 2, 7])
def test_short_texts(length):
    model, ids = model_of("gru")
    assert len(measure_behaviour(model, ids[:length], steps=50)) == 1 + min(2, len(set(ids[:length].tolist())))


def test_mistakes_are_told_in_a_line():
    model, ids = model_of("gru")
    with pytest.raises(CorpusError, match="no tokens"):
        measure_behaviour(model, ids[:0])
    with pytest.raises(ConfigError, match="starts"):
        measure_behaviour(model, ids, starts=0)
    with pytest.raises(ConfigError, match="steps"):
        measure_behaviour(model, ids, steps=0)
