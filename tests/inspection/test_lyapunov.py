"""Exponents against those of maps and flows that the literature knows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from recurra.cells import GRU, LSTM, Elman, IndRNN
from recurra.errors import ConfigError, DivergedError, EngineError
from recurra.inspection.lyapunov import LOWEST, lyapunov_exponents
from recurra.layers import Stack

LITERATURE = 0.02
"""Share by which an exponent may differ from the literature's: what a few thousand steps can tell."""
ZERO = 0.02
"""Per unit of time, three standard errors: as much does the speed along an orbit vary over the length of the run."""
RADIUS = 0.03
EXACT = 1e-6


def logistic(x, state):
    return state, 4 * state * (1 - state)


def henon(x, state):
    a, b = state.unbind(-1)
    return state, torch.stack([1 - 1.4 * a * a + b, 0.3 * a], -1)


DT = 0.02


def lorenz(x, state):
    def slope(s):
        a, b, c = s.unbind(-1)
        return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)

    k1 = slope(state)
    k2 = slope(state + DT / 2 * k1)
    k3 = slope(state + DT / 2 * k2)
    k4 = slope(state + DT * k3)
    return state, state + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def starts(rows, size, scale=1.0):
    return scale * torch.rand(rows, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Linear(nn.Module):
    """h = U h + x."""

    def __init__(self, U):
        super().__init__()
        self.input_size = len(U)
        self.U = nn.Parameter(U)

    def step(self, x, state):
        h = state @ self.U.mT + x
        return h, h

    def zero_state(self, batch):
        return self.U.new_zeros(batch, len(self.U))


def orthogonal(size):
    return torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(2))).Q


def test_the_logistic_map():
    found = lyapunov_exponents(logistic, None, starts(100, 1), steps=300)
    assert found.exponents == pytest.approx([math.log(2)], rel=LITERATURE)
    assert found.steps == 30_000


def test_the_henon_map():
    found = lyapunov_exponents(henon, None, starts(100, 2, 0.1), steps=300)
    assert found.exponents == pytest.approx([0.4192, -1.6232], rel=LITERATURE)
    assert sum(found.exponents) == pytest.approx(math.log(0.3), rel=EXACT)


def test_the_lorenz_equations():
    state = starts(300, 3)
    for _ in range(1500):  # an orbit may linger about one of the wings
        _, state = lorenz(None, state)
    found = lyapunov_exponents(lorenz, None, state, steps=400, warmup=150)
    largest, zero, smallest = (exponent / DT for exponent in found.exponents)
    assert largest == pytest.approx(0.9056, rel=LITERATURE)
    assert zero == pytest.approx(0, abs=ZERO)
    assert smallest == pytest.approx(-14.572, rel=LITERATURE)


def test_the_error_is_how_far_estimates_of_it_scatter():
    found = [lyapunov_exponents(henon, None, s, steps=160, warmup=20) for s in starts(20, 2, 0.1).split(1)]
    firsts = torch.tensor([one.exponents[0] for one in found])
    claimed = torch.tensor([one.errors[0] for one in found]).mean()
    assert 0.5 < firsts.std() / claimed < 2


@pytest.mark.parametrize("size", [1, 7, 40])
def test_an_orthogonal_cell_keeps_all_lengths(size):
    found = lyapunov_exponents(Linear(orthogonal(size).double()), steps=50)
    assert found.exponents == pytest.approx([0] * min(8, size), abs=EXACT)
    assert found.errors == pytest.approx([0] * min(8, size), abs=EXACT)


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("scaled", ["orthogonal", "gaussian"])
def test_of_a_small_signal_the_exponent_is_the_log_of_the_radius(radius, scaled):
    cell = Elman(16, 32, bias=False)
    U = orthogonal(32) if scaled == "orthogonal" else torch.randn(32, 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        cell.U.copy_(U * radius / torch.linalg.eigvals(U).abs().max())
    found = lyapunov_exponents(cell, steps=400)
    assert found.exponents[0] == pytest.approx(math.log(radius), abs=RADIUS)


def test_input_that_saturates_the_units_makes_the_exponent_smaller():
    cell = Elman(16, 32, bias=False)
    with torch.no_grad():
        cell.U.copy_(orthogonal(32))
    inputs = 3 * torch.randn(300, 4, 16, generator=torch.Generator().manual_seed(1))
    assert lyapunov_exponents(cell, inputs).exponents[0] < -RADIUS


def test_a_triangle_of_exponents_is_that_of_its_diagonal():
    diagonal = torch.tensor([0.9, 0.5, 1.1, 0.2], dtype=torch.float64)
    U = torch.diag(diagonal) + torch.ones(4, 4, dtype=torch.float64).triu(1)
    found = lyapunov_exponents(Linear(U), steps=300)
    assert found.exponents == pytest.approx(diagonal.log().sort(descending=True).values.tolist(), abs=RADIUS)


def test_units_that_are_off_lose_everything_in_a_step():
    cell = IndRNN(3, 2)
    with torch.no_grad():
        cell.b.fill_(-10.0)
    assert lyapunov_exponents(cell, steps=5).exponents == pytest.approx([LOWEST] * 2)


@pytest.mark.parametrize("make", [LSTM, GRU, lambda i, h: Stack([LSTM(i, h), GRU(h, h)])])
def test_is_the_same_twice_and_leaves_cell_and_random_numbers_alone(make):
    cell = make(3, 5).train()
    before, random = {k: v.clone() for k, v in cell.state_dict().items()}, torch.get_rng_state()
    inputs = torch.randn(60, 2, 3, generator=torch.Generator().manual_seed(1))
    first, second = (lyapunov_exponents(cell, inputs, warmup=20) for _ in range(2))
    assert first == second
    assert first.exponents == sorted(first.exponents, reverse=True)
    assert torch.equal(torch.get_rng_state(), random)
    assert cell.training
    assert all(p.requires_grad and p.grad is None and p.dtype is torch.float32 for p in cell.parameters())
    assert all(torch.equal(v, before[k]) for k, v in cell.state_dict().items())


def test_rows_of_a_batch_are_measured_as_they_are_alone():
    """By the sum of all exponents, the mean of log |det J|, which the directions that one begins with do not change."""
    cell = GRU(3, 5)
    inputs = torch.randn(60, 2, 3, generator=torch.Generator().manual_seed(1))
    alone = [sum(lyapunov_exponents(cell, inputs[:, [row]], warmup=20).exponents) for row in range(2)]
    assert sum(lyapunov_exponents(cell, inputs, warmup=20).exponents) == pytest.approx(sum(alone) / 2, abs=EXACT)


class Backwards(torch.autograd.Function):
    """Doubles, and knows its derivative in reverse mode alone."""

    @staticmethod
    def forward(ctx, a):
        return 2 * a

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def test_a_derivative_known_in_reverse_alone_will_do():
    found = lyapunov_exponents(lambda x, s: (s, Backwards.apply(s) / 4), None, torch.ones(2, 3), steps=20)
    assert found.exponents == pytest.approx([math.log(0.5)] * 3, abs=EXACT)


def test_a_step_that_looks_at_its_numbers_will_do():
    def step(x, state):
        rows = [row * (0.5 if row[0].item() > 0 else 0.25) for row in state]
        return state, torch.stack(rows)

    found = lyapunov_exponents(step, None, torch.tensor([[1.0, 2.0], [-1.0, 2.0]]), steps=20, warmup=0)
    assert found.exponents == pytest.approx([(math.log(0.5) + math.log(0.25)) / 2] * 2, abs=EXACT)


def test_a_step_that_makes_float32_of_its_own_is_measured_in_it():
    own = torch.eye(3) / 2
    found = lyapunov_exponents(lambda x, s: (s, s.to(own.dtype) @ own), None, torch.ones(1, 3), steps=20)
    assert found.exponents == pytest.approx([math.log(0.5)] * 3, abs=1e-5)


@pytest.mark.parametrize(
    "step",
    [
        lambda x, s: (s, s.detach() * 0.5),
        lambda x, s: (s, s * 0.5 + s.detach()),
        lambda x, s: (s, torch.from_numpy(s.detach().numpy() * 0.5)),
        lambda x, s: (s, torch.round(s * 1e3) / 1e3 + 0.9 * (s - s.detach())),
    ],
    ids=["detached", "half detached", "numpy", "straight through"],
)
def test_a_step_without_a_derivative_is_told_in_a_line(step):
    with pytest.raises(EngineError, match=r"derivative of .*step") as caught:
        lyapunov_exponents(step, None, torch.ones(1, 2), steps=5)
    assert "\n" not in str(caught.value)


def test_a_memory_that_nothing_enters_is_no_error():
    found = lyapunov_exponents(lambda x, s: (s, torch.zeros_like(s)), None, torch.ones(1, 2), steps=5)
    assert found.exponents == pytest.approx([LOWEST] * 2)


def test_what_leaves_the_floating_numbers_is_measured_until_then():
    found = lyapunov_exponents(lambda x, s: (s, s * 1e3), None, torch.ones(1, 1), steps=500, warmup=0)
    assert found.exponents == pytest.approx([math.log(1e3)])
    assert 90 < found.steps < 110
    with pytest.raises(DivergedError, match="no finite number"):
        lyapunov_exponents(lambda x, s: (s, s * 1e300), None, torch.ones(1, 1), steps=5, warmup=10)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"steps": 0}, {"steps": 10_000}, {"warmup": -1}, {"warmup": 10_000}])
def test_counts_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ConfigError, match="cannot measure"):
        lyapunov_exponents(GRU(3, 5), torch.zeros(200, 1, 3), **wrong)


def test_a_bare_step_needs_a_state():
    with pytest.raises(ConfigError, match="give one"):
        lyapunov_exponents(henon)
