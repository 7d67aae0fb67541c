"""Distributions against those of torch, and against what defines them."""

import math

import pytest
import torch

from recurra.models.distributions import DISTRIBUTIONS, LEVELS, Gaussian, Placed, Quantiles, Student
from recurra.testing.tolerances import TOLERANCES

CLOSE = TOLERANCES[torch.float64]
H, B, D = 3, 4, 2


def placed(kind, seed=0):
    torch.manual_seed(seed)
    value, scale = torch.randn(H, B, D, dtype=torch.float64), torch.rand(H, B, D, dtype=torch.float64) + 0.1
    return Placed(value, scale, torch.randn(H, B, kind.size, D, dtype=torch.float64))


def oracle(kind, said):
    width = said.scale * said.raw[..., 1, :].exp()
    location = said.value + said.scale * said.raw[..., 0, :]
    if kind is Gaussian:
        return torch.distributions.Normal(location, width)
    return torch.distributions.StudentT(4.0, location, width)


@pytest.mark.parametrize("kind", [Gaussian, Student])
def test_nats_are_those_of_torch(kind):
    said, targets = placed(kind), torch.randn(H, B, D, dtype=torch.float64)
    torch.testing.assert_close(kind().nats(said, targets), -oracle(kind, said).log_prob(targets), **CLOSE)


@pytest.mark.parametrize("kind", DISTRIBUTIONS.values())
def test_quantiles_undo_the_distribution_function_and_rise(kind):
    said, levels = placed(kind), torch.tensor(LEVELS, dtype=torch.float64)
    values = kind().quantile(said, levels)
    assert values.shape == (len(LEVELS), H, B, D)
    assert (values[1:] > values[:-1]).all()
    for level, value in zip(LEVELS, values, strict=True):
        torch.testing.assert_close(kind().cdf(said, value), torch.full_like(value, level), **CLOSE)


@pytest.mark.parametrize("kind", [Gaussian, Student])
def test_the_distribution_function_is_the_integral_of_the_density(kind):
    said = Placed(
        *(torch.zeros(1, 1, 1, dtype=torch.float64) + v for v in (0.3, 0.7)), torch.tensor([[[[0.2], [-0.4]]]])
    )
    grid = torch.linspace(-400, 2, 2_000_001, dtype=torch.float64)
    density = torch.exp(-kind().nats(said, grid.reshape(-1, 1, 1, 1)).flatten())
    found = torch.trapezoid(density, grid).item()
    assert kind().cdf(said, grid[-1]).item() == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("kind", [Gaussian, Student])
def test_noise_has_the_distribution(kind):
    noise = kind().noise(20_000, generator=torch.Generator().manual_seed(0)).double()
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    standard = Placed(zero, one, torch.zeros(2, 1, dtype=torch.float64))
    probabilities = kind().cdf(standard, noise).sort().values
    furthest = (probabilities - torch.linspace(0, 1, len(noise), dtype=torch.float64)).abs().max().item()
    assert furthest < 2 / math.sqrt(len(noise))  # Kolmogorov and Smirnov, p < 0.001


def test_the_loss_of_quantiles_is_least_at_the_quantiles():
    values = torch.arange(1, 1000, dtype=torch.float64).reshape(-1, 1, 1) / 1000
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    gap = math.log(math.expm1(0.05))  # softplus of it is 0.05
    best = torch.tensor([0.5, *[gap] * (len(LEVELS) - 1)], dtype=torch.float64).reshape(1, -1, 1)

    def loss(raw):
        said = Placed(zero.expand(len(values), 1), one.expand(len(values), 1), raw.expand(len(values), -1, 1))
        return Quantiles().nats(said, values[..., 0]).mean().item()

    torch.testing.assert_close(
        Quantiles().values(Placed(zero, one, best)).flatten(), torch.tensor(LEVELS, dtype=torch.float64), **CLOSE
    )
    for number in range(len(LEVELS)):
        for change in (-0.05, 0.05):
            worse = best.clone()
            worse[0, number] += change
            assert loss(worse) > loss(best)
