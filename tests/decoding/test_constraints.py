"""Texts that match, and texts that never come, on models whose distributions are known."""

import itertools
import math

import pytest
import torch

from recurra.decoding import (
    Banned,
    BannedTexts,
    Constraint,
    Controlled,
    Forced,
    Sampler,
    avoiding,
    generate,
    make_generators,
)
from recurra.decoding.steps import read_by_steps
from recurra.errors import ConfigError, ShapeError
from recurra.state import select

pytest.importorskip("outlines_core")

PIECES = [b"a", b"b", b"ab", b"c", b"<eot>"]
PROBABILITIES = torch.tensor([0.1, 0.3, 0.2, 0.15, 0.25], dtype=torch.float64)
# The quantile of chi-square that is passed once in ten thousand times, by degrees of freedom.
CHI_SQUARE = {1: 15.1, 2: 18.4, 3: 21.1, 4: 23.5, 5: 25.7, 6: 27.9}


def constraint(pattern, tokens=20, **settings):
    return Constraint.from_pattern(pattern, PIECES, tokens=tokens, never=[4], **settings)


def written(controls, rows, tokens, *, end=None, logits=None, sampler=None):
    """Texts of rows, as tuples of ids without the end, from a model without memory, behind controls."""
    logits = PROBABILITIES.log() if logits is None else logits

    def step(token, state):
        return logits.expand(len(token), -1), state

    model = Controlled(step, read_by_steps(step), controls, len(PIECES))
    draws = generate(
        model.step, (), torch.tensor([[0]]), tokens=tokens, generators=make_generators(3, rows), sampler=sampler,
        prefill=model.prefill, end=end,
    )  # fmt: skip
    ids = torch.stack([draw.ids for draw in draws], 1).tolist()
    return [tuple(itertools.takewhile(lambda token: token != end, row)) for row in ids]


def test_the_end_has_the_mass_of_what_may_not_follow():
    control = constraint("a*b?")
    state = control.start(torch.zeros(1, 2, dtype=torch.int64))
    state = control.advance(state, torch.tensor([0, 1]))
    first, second = control.apply(PROBABILITIES.log().expand(2, -1), state).exp()
    # After a: a, b and ab may follow, and c and <eot> are the end. After b: nothing may.
    torch.testing.assert_close(first, torch.tensor([0.1, 0.3, 0.2, 0, 0, 0.4], dtype=torch.float64))
    torch.testing.assert_close(second, torch.tensor([0, 0, 0, 0, 0, 1.0], dtype=torch.float64))


def test_where_the_text_does_not_match_there_is_no_end():
    control = constraint("a*b?c")
    scores = control.apply(PROBABILITIES.log()[None], control.start(torch.tensor([[0]])))
    torch.testing.assert_close(scores[0].exp(), torch.tensor([0.1, 0.3, 0.2, 0.15, 0, 0], dtype=torch.float64))


def test_draws_follow_the_distribution_of_constrained_texts():
    control = constraint("a?b?")
    texts = written([control], 6000, 5, end=control.end)
    # ab comes in one token or two; what may not follow at each place ends the text.
    wanted = {(): 0.4, (0,): 0.1 * 0.7, (0, 1): 0.1 * 0.3, (1,): 0.3, (2,): 0.2}
    counts = {text: texts.count(text) for text in set(texts)}
    assert set(counts) == set(wanted)
    assert sum((counts[t] - 6000 * p) ** 2 / (6000 * p) for t, p in wanted.items()) < CHI_SQUARE[4]


@pytest.mark.parametrize("tokens", range(1, 8))
@pytest.mark.parametrize("sampler", [Sampler(), Sampler(top_k=1), Sampler(temperature=0.01), Sampler(min_p=0.9)])
def test_every_text_matches_within_its_tokens(tokens, sampler):
    # b is by far the likeliest, and leads away from the shortest match.
    logits = torch.tensor([0.0, 50.0, 0.0, 0.0, 50.0])
    control = constraint("(b(ab)*)*c", tokens)
    for text in written([control], 20, tokens, end=control.end, logits=logits, sampler=sampler):
        assert len(text) <= tokens
        assert text[-1] == 3
        assert control.missing(text) == 0


def test_at_the_limit_the_text_takes_the_shortest_way():
    control = constraint("b*ac", 4)
    # It would write b for ever, and must stop in time.
    logits = torch.tensor([0.0, 90.0, 0.0, 0.0, 0.0])
    assert written([control], 3, 4, end=control.end, logits=logits) == [(1, 1, 0, 3)] * 3


@pytest.mark.parametrize("low", [-math.inf, -1e30, -800.0])
def test_what_the_model_rules_out_is_written_if_nothing_else_may_be(low):
    control = constraint("(a|b)c", 4)
    texts = written([control], 40, 4, end=control.end, logits=torch.tensor([low, low, 0.0, low, 0.0]))
    assert set(texts) == {(0, 3), (1, 3)}


def test_other_controls_give_way_to_a_match():
    control = constraint("(a|b)c", 4)
    assert set(written([Banned([0]), control], 40, 4, end=control.end)) == {(1, 3)}
    assert set(written([Banned([0, 1]), control], 40, 4, end=control.end)) == {(0, 3), (1, 3)}
    # The end of a document that they leave is an end, too.
    assert set(written([Banned([0, 1, 2, 3]), constraint("a?")], 40, 4, end=5)) == {()}


def test_a_match_may_begin_with_forced_tokens_and_hold_no_banned_text():
    control = constraint("[abc]{4}", 4, ban=["bb", "ca"])
    texts = written([Forced([1, 3]), control], 200, 4, end=control.end)
    assert all(text[:2] == (1, 3) for text in texts)
    pieces = {b"".join(PIECES[i] for i in text) for text in texts}
    assert pieces == {b"bcbc", b"bcba", b"bccc", b"bccb"}


def test_a_state_is_a_row_for_each_text():
    control = constraint("a*b?c", 9)
    state = control.advance(control.start(torch.zeros(1, 3, dtype=torch.int64)), torch.tensor([0, 1, 3]))
    assert state.remaining.tolist() == [8, 8, 8]
    logits = PROBABILITIES.log().expand(3, -1)
    chosen = torch.tensor([2, 0])
    assert torch.equal(control.apply(logits[:2], select(state, chosen)), control.apply(logits, state)[chosen])


def test_a_text_that_has_ended_stays_so():
    control = constraint("a*", 9)
    state = control.start(torch.tensor([[0]]))
    for _ in range(12):
        state = control.advance(state, torch.tensor([control.end]))
        scores = control.apply(PROBABILITIES.log()[None], state)
        assert scores[0, :-1].eq(-math.inf).all()
        assert scores[0, -1].isfinite()


def test_scores_of_another_vocabulary_are_refused():
    control = constraint("a")
    with pytest.raises(ShapeError, match="5 tokens"):
        control.apply(torch.zeros(1, 4), control.start(torch.tensor([[0]])))


@pytest.mark.parametrize(
    ("pattern", "tokens", "ids", "says"),
    [
        ("d", 5, [], "no text of this vocabulary matches it"),
        ("<eot>", 5, [], "no text of this vocabulary matches it"),
        ("(ab){6}", 5, [], "has 6 tokens; allow more than 5"),
        ("(ab){6}", 6, [0, 1], "has 7 tokens; allow more than 6"),
        ("a+", 5, [1], "begins with the forced text"),
    ],
)
def test_impossible_constraints(pattern, tokens, ids, says):
    with pytest.raises(ConfigError, match=says):
        constraint(pattern, tokens).check("it", ids)


def test_possible_constraints():
    constraint("(ab){6}", 6).check("it", [2, 2])
    constraint("", 1).check("it")


@pytest.mark.parametrize("banned", [["bb"], ["abc", "cc"], ["a"], ["aa", "ab", "b"]])
def test_banned_texts_never_come_and_the_others_keep_their_shares(banned):
    """One distribution after another: the free one, without the tokens that would complete a banned text."""
    control = BannedTexts(banned, PIECES, end=4)
    texts = written([control], 3000, 4)
    free = {}
    for ids in itertools.product(range(5), repeat=2):
        shares = []
        for n in range(2):
            possible = [i for i in range(5) if i == 4 or not held(banned, [*ids[:n], i])]
            total = sum(float(PROBABILITIES[i]) for i in possible)
            shares.append(float(PROBABILITIES[ids[n]]) / total if ids[n] in possible else 0.0)
        free[ids] = shares[0] * shares[1]
    counts = {ids: sum(text[:2] == ids for text in texts) for ids in free}
    assert all(counts[ids] == 0 for ids, p in free.items() if p == 0)
    statistic = sum((counts[ids] - 3000 * p) ** 2 / (3000 * p) for ids, p in free.items() if p)
    freedom = sum(p > 0 for p in free.values()) - 1
    assert statistic < freedom + 5 * math.sqrt(2 * freedom) + 10
    assert not any(held(banned, text) for text in texts)


def held(banned, ids):
    """Whether a banned text is in a text that ends, and begins anew, at each end."""
    documents = b"".join(b"|" if i == 4 else PIECES[i] for i in ids)
    return any(text.encode() in documents for text in banned)


def test_a_ban_looks_ahead():
    # After a only b and c may come, and after b nothing: so b never comes.
    control = BannedTexts(["aa", "ab", "ba", "bb", "bc"], PIECES[:4])
    texts = written([control], 200, 6, logits=PROBABILITIES.log()[:5].index_fill(0, torch.tensor([4]), -math.inf)[:4])
    assert not any(1 in text or 2 in text for text in texts)
    assert any(0 in text for text in texts)


def test_a_ban_of_everything_is_refused():
    with pytest.raises(ConfigError, match="nothing left to write"):
        BannedTexts(["a", "b", "c"], PIECES[:4])
    assert written([BannedTexts(["a", "b", "c"], PIECES, end=4)], 1, 2) == [(4, 4)]


def test_an_automaton_of_ones_own():
    control = Constraint(avoiding(["b"]), PIECES, tokens=3, never=[4])
    assert all(1 not in text and 2 not in text for text in written([control], 50, 3, end=control.end))
