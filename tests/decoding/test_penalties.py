"""Penalties, banned and forced tokens, against their definitions."""

import math

import pytest
import torch

from recurra.decoding import Banned, Controlled, Forced, RepetitionPenalty, generate, make_generators
from recurra.decoding.steps import read_by_steps
from recurra.errors import ConfigError
from recurra.state import select

PROBABILITIES = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
LOGITS = torch.tensor([1.5, -0.5, 0.0, 2.0], dtype=torch.float64)
# The quantile of chi-square that is passed once in ten thousand times, by degrees of freedom.
CHI_SQUARE = {1: 15.1, 2: 18.4, 3: 21.1}


def constant(token, state):
    """The same distribution after every token."""
    return PROBABILITIES.log().expand(len(token), -1), state


def written(controls, rows, tokens, prompt=(0,)):
    """Tokens (tokens, rows) from a model without memory, behind controls."""
    model = Controlled(constant, read_by_steps(constant), controls, 4)
    draws = generate(
        model.step, (), torch.tensor(prompt)[:, None], tokens=tokens, generators=make_generators(3, rows),
        prefill=model.prefill,
    )  # fmt: skip
    return torch.stack([draw.ids for draw in draws])


def chi_square(ids, wanted):
    counts = torch.bincount(ids, minlength=len(wanted)).double()
    possible = wanted > 0
    assert counts[~possible].sum() == 0
    return float(((counts - len(ids) * wanted)[possible] ** 2 / (len(ids) * wanted[possible])).sum())


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.3, 10.0])
def test_the_penalty_divides_positive_and_multiplies_negative_logits(penalty):
    control = RepetitionPenalty(penalty, 4)
    state = control.advance(control.start(torch.tensor([[0, 2], [0, 2]])), torch.tensor([1, 4]))
    scores = control.apply(LOGITS.expand(2, -1), state)
    first = [1.5 / penalty, -0.5 * penalty, 0.0, 2.0]
    torch.testing.assert_close(scores, torch.tensor([first, LOGITS.tolist()], dtype=torch.float64))


def test_draws_with_a_penalty_follow_its_distribution():
    ids = written([RepetitionPenalty(1.7, 4)], 4000, 2, prompt=(1, 1))
    logits = PROBABILITIES.log()
    first = torch.where(torch.tensor([False, True, False, False]), logits * 1.7, logits).softmax(0)
    assert chi_square(ids[0], first) < CHI_SQUARE[3]
    for token in (0, 2, 3):
        seen = torch.tensor([i in (1, token) for i in range(4)])
        after = torch.where(seen, logits * 1.7, logits).softmax(0)
        assert chi_square(ids[1][ids[0] == token], after) < CHI_SQUARE[3]


def test_banned_tokens_never_come_and_the_others_keep_their_shares():
    ids = written([Banned([1, 1, 2])], 4000, 1)
    assert chi_square(ids[0], torch.tensor([0.25, 0, 0, 0.75], dtype=torch.float64)) < CHI_SQUARE[1]


def test_a_ban_of_everything_is_refused():
    with pytest.raises(ConfigError, match="all tokens are banned"):
        written([Banned(range(4))], 1, 1)


def test_forced_tokens_come_first_and_then_the_model_is_free():
    ids = written([Forced([2, 0])], 4000, 3)
    assert (ids[:2] == torch.tensor([[2], [0]])).all()
    assert chi_square(ids[2], PROBABILITIES) < CHI_SQUARE[3]


def test_what_is_forced_comes_even_where_another_control_forbids_it():
    assert written([Banned([2]), Forced([2])], 2, 1).tolist() == [[2, 2]]


@pytest.mark.parametrize("control", [RepetitionPenalty(1.5, 4), Banned([1]), Forced([2, 1])])
def test_a_state_is_a_row_for_each_text(control):
    state = control.advance(control.start(torch.tensor([[0, 1, 3]])), torch.tensor([3, 1, 1]))
    chosen = select(state, torch.tensor([2, 0]))
    logits = LOGITS.expand(3, -1)
    assert torch.equal(control.apply(logits[:2], chosen), control.apply(logits, state)[[2, 0]])
    assert torch.equal(logits, LOGITS.expand(3, -1))


@pytest.mark.parametrize("penalty", [0.0, -1.0, math.inf, math.nan])
def test_penalties_that_are_none(penalty):
    with pytest.raises(ConfigError, match="repetition_penalty"):
        RepetitionPenalty(penalty, 4)
