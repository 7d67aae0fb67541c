"""What is drawn, against the definitions."""

import math

import pytest
import torch

from recurra.decoding import Sampler, make_generators
from recurra.errors import ConfigError, DivergedError, ShapeError

PROBABILITIES = torch.tensor([0.05, 0.4, 0.1, 0.25, 0.2], dtype=torch.float64)
LOGITS = PROBABILITIES.log()

# The quantile of chi-square that is passed once in ten thousand times, by degrees of freedom.
CHI_SQUARE = {1: 15.1, 2: 18.4, 3: 21.1, 4: 23.5}


def probabilities(logits, **settings):
    return Sampler(**settings).distribution(torch.as_tensor(logits, dtype=torch.float64)).exp()


def expected(weights):
    weights = torch.tensor(weights, dtype=torch.float64)
    return weights / weights.sum()


def chi_square(counts, wanted):
    total = counts.sum()
    possible = wanted > 0
    assert counts[~possible].sum() == 0
    return float(((counts - total * wanted)[possible] ** 2 / (total * wanted[possible])).sum())


def test_without_settings_the_distribution_is_the_softmax():
    torch.testing.assert_close(probabilities(LOGITS), PROBABILITIES)


@pytest.mark.parametrize("temperature", [0.25, 0.5, 2.0, 10.0])
def test_temperature_raises_probabilities_to_a_power(temperature):
    powers = PROBABILITIES ** (1 / temperature)
    torch.testing.assert_close(probabilities(LOGITS, temperature=temperature), powers / powers.sum())


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-30])
def test_no_temperature_is_too_low(temperature):
    made = probabilities([1e30, -1e30, 1e30, 0.0], temperature=temperature)
    torch.testing.assert_close(made, expected([1, 0, 1, 0]))


@pytest.mark.parametrize("settings", [{"greedy": True}, {"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}])
def test_greedy_in_all_its_forms_takes_the_lowest_id_of_the_best(settings):
    made = probabilities([0.0, 3.0, 1.0, 3.0], **settings)
    torch.testing.assert_close(made, expected([0, 1, 0, 0]))


@pytest.mark.parametrize(("k", "kept"), [(2, [0, 1, 0, 1, 0]), (3, [0, 1, 0, 1, 1]), (5, [1] * 5), (99, [1] * 5)])
def test_top_k_keeps_exactly_k(k, kept):
    wanted = PROBABILITIES * torch.tensor(kept)
    torch.testing.assert_close(probabilities(LOGITS, top_k=k), wanted / wanted.sum())


def test_top_k_prefers_the_lowest_ids_of_equals():
    torch.testing.assert_close(
        probabilities([1.0, 2.0, 1.0, 1.0, 1.0], top_k=3, temperature=1e6), expected([1, 1, 1, 0, 0]), atol=1e-5, rtol=0
    )
    many = probabilities([0.0] * 1000, top_k=7)
    torch.testing.assert_close(many, expected([1] * 7 + [0] * 993))


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (0.25, [1, 0, 0, 0]),
        (0.26, [1, 1, 0, 0]),
        (0.5, [1, 1, 0, 0]),
        (0.75, [1, 1, 1, 0]),
        (0.76, [1, 1, 1, 1]),
        (1.0, [1, 1, 1, 1]),
    ],
)
def test_top_p_keeps_the_fewest_tokens_whose_mass_reaches_p(p, kept):
    torch.testing.assert_close(probabilities([0.0] * 4, top_p=p), expected(kept))


def test_top_p_of_one_keeps_the_unlikeliest_token():
    assert probabilities([0.0, -700.0], top_p=1.0)[1] > 0


def test_top_p_counts_the_mass_that_top_k_left():
    # Of 0.4 and 0.25 alone the first has 0.615, so it alone reaches 0.6; of all five it would not.
    torch.testing.assert_close(probabilities(LOGITS, top_k=2, top_p=0.6), expected([0, 1, 0, 0, 0]))
    torch.testing.assert_close(probabilities(LOGITS, top_p=0.6), expected([0, 0.4, 0, 0.25, 0]))


@pytest.mark.parametrize(
    ("p", "kept"),
    [(0.1, [1] * 5), (0.2, [0, 1, 1, 1, 1]), (0.5, [0, 1, 0, 1, 1]), (0.6, [0, 1, 0, 1, 0]), (1, [0, 1, 0, 0, 0])],
)
def test_min_p_keeps_what_is_near_enough_to_the_most_likely(p, kept):
    wanted = PROBABILITIES * torch.tensor(kept)
    torch.testing.assert_close(probabilities(LOGITS, min_p=p), wanted / wanted.sum())


def test_min_p_of_one_keeps_all_that_are_as_likely_as_the_best():
    torch.testing.assert_close(probabilities([1.0, 2.0, 2.0, 0.0], min_p=1.0), expected([0, 1, 1, 0]))


@pytest.mark.parametrize("p", [0.05, 0.2, 0.3, 0.5, 0.7, 0.91, 1.0])
def test_typical_keeps_those_of_most_usual_surprise(p):
    """By hand, one token after the other."""
    rows = [PROBABILITIES, torch.tensor([0.9, 0.02, 0.03, 0.05], dtype=torch.float64)]
    for row in rows:
        entropy = -sum(float(q) * math.log(q) for q in row)
        nearest = sorted(range(len(row)), key=lambda i: abs(-math.log(row[i]) - entropy))
        kept, mass = [0] * len(row), 0.0
        for i in nearest:
            if mass < p - 1e-12:
                kept[i], mass = 1, mass + float(row[i])
        wanted = row * torch.tensor(kept)
        torch.testing.assert_close(probabilities(row.log(), typical=p), wanted / wanted.sum())


def test_typical_may_leave_out_the_most_likely():
    row = torch.tensor([0.3, *[0.01] * 70], dtype=torch.float64)
    assert probabilities(row.log(), typical=0.3)[0] == 0


def test_typical_of_equals_takes_the_lowest_ids_and_of_impossible_ones_none():
    torch.testing.assert_close(probabilities([0.0] * 4 + [-math.inf], typical=0.5), expected([1, 1, 0, 0, 0]))
    torch.testing.assert_close(probabilities([0.0, -math.inf], typical=0.99), expected([1, 0]))


def test_each_setting_sees_what_those_before_it_left():
    # Top-k leaves 0.4 and 0.25; of these min-p at 0.6 both, and typical of 0.1 the one nearer to their entropy.
    together = probabilities(LOGITS, top_k=2, min_p=0.6, typical=0.1)
    two = torch.tensor([0.4, 0.25]) / 0.65
    entropy = -(two * two.log()).sum()
    first = bool((-two.log() - entropy).abs().argmin() == 0)
    torch.testing.assert_close(together, expected([0, int(first), 0, int(not first), 0]))
    torch.testing.assert_close(probabilities(LOGITS, top_p=0.6, min_p=0.7), expected([0, 1, 0, 0, 0]))


def test_rows_are_treated_alone():
    logits = torch.randn(3, 4, 11, generator=torch.Generator().manual_seed(0))
    sampler = Sampler(temperature=0.7, top_k=7, top_p=0.95, min_p=0.05, typical=0.8)
    alone = [[sampler.distribution(logits[i, j]) for j in range(4)] for i in range(3)]
    torch.testing.assert_close(sampler.distribution(logits), torch.stack([torch.stack(row) for row in alone]))


@pytest.mark.parametrize(
    ("settings", "freedom"),
    [
        ({}, 4),
        ({"top_k": 3}, 2),
        ({"temperature": 2.0}, 4),
        ({"top_p": 0.6}, 1),
        ({"min_p": 0.2}, 3),
        ({"typical": 0.5}, 2),
        ({"top_k": 4, "top_p": 0.9, "min_p": 0.5}, 2),
    ],
)
def test_draws_follow_the_distribution(settings, freedom):
    sampler = Sampler(**settings)
    draws = 20_000
    generator = torch.Generator().manual_seed(7)
    ids = sampler.draw(LOGITS.expand(draws, -1), [generator] * draws)
    counts = torch.bincount(ids, minlength=5).double()
    assert chi_square(counts, sampler.distribution(LOGITS).exp()) < CHI_SQUARE[freedom]


def test_forbidden_tokens_are_never_drawn():
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf]).expand(2000, -1)
    assert set(Sampler().draw(logits, make_generators(0, 2000)).tolist()) == {1, 3}


@pytest.mark.parametrize("settings", [{}, {"top_k": 3}, {"greedy": True}])
def test_numbers_that_are_not_are_refused(settings):
    for value in (math.nan, math.inf):
        with pytest.raises(DivergedError, match="not numbers"):
            Sampler(**settings).draw(torch.tensor([[0.0, value]]), make_generators(0, 1))


def test_one_generator_per_row():
    with pytest.raises(ShapeError, match="3 generators"):
        Sampler().draw(torch.zeros(2, 5), make_generators(0, 3))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_p": math.nan}, "top_p"),
        ({"min_p": 0.0}, "min_p"),
        ({"min_p": 1.1}, "min_p"),
        ({"typical": 0.0}, "typical"),
        ({"typical": math.nan}, "typical"),
        ({"greedy": True, "top_k": 3}, "greedy"),
        ({"greedy": True, "temperature": 2.0}, "greedy"),
    ],
)
def test_settings_out_of_range_are_named(settings, named):
    with pytest.raises(ConfigError, match=named):
        Sampler(**settings)
