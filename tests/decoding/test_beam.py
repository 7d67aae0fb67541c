"""Beam search on models so small that its results can be seen."""

import math

import pytest
import torch

from recurra.decoding import Beam, Control, Controlled, beam_search
from recurra.errors import ConfigError, DivergedError, ShapeError

START = 9


def tree(branches, vocabulary=10):
    """Return a step that gives the probabilities of the next token by the path so far, as digits; and its state."""

    def step(token, state):
        paths = [int(old) * 10 + int(new) for old, new in zip(state, token, strict=True)]
        logits = torch.full((len(paths), vocabulary), -math.inf, dtype=torch.float64)
        for row, path in enumerate(paths):
            for following, p in branches.get(str(path)[1:], {0: 1.0}).items():
                logits[row, following] = math.log(p)
        return logits, torch.tensor(paths)

    return step, torch.zeros(1, dtype=torch.int64)


def search(branches, **options):
    step, state = tree(branches)
    options = {"end": 0, "tokens": 9, **options}
    (found,) = beam_search(step, state, torch.tensor([[START]]), **options)
    return found


def texts(found):
    return ["".join(map(str, hypothesis.tokens)) for hypothesis in found]


GARDEN = {"": {1: 0.6, 2: 0.4}, "1": {3: 0.5, 4: 0.5}, "2": {5: 0.9, 6: 0.1}}


def test_a_beam_finds_what_greedy_does_not():
    assert texts(search(GARDEN, width=1)) == ["130"]
    found = search(GARDEN, width=2, best=2)
    assert texts(found) == ["250", "130"]
    assert [hypothesis.log_p for hypothesis in found] == pytest.approx([math.log(0.36), math.log(0.3)])


def test_what_greedy_finds_is_never_lost():
    spread = dict.fromkeys(range(10), 0.1)
    branches = {"": {1: 0.36, 2: 0.34, 3: 0.3}, "1": {4: 0.34, 5: 0.33, 6: 0.33}, "2": {7: 0.5, 8: 0.5}}
    branches |= dict.fromkeys(("27", "28"), spread)
    # 14 would have to come in front of 27 and 28 to stay in a beam of 2
    found = search(branches, width=2, tokens=4)
    assert texts(found) == ["140"]
    assert found[0].log_p == pytest.approx(math.log(0.36 * 0.34))


def test_the_length_penalty_favours_long_texts():
    branches = {"": {0: 0.5, 1: 0.5}, "1": {2: 0.7, 3: 0.3}}
    assert texts(search(branches, width=4)) == ["0"]
    (found,) = search(branches, width=4, length_penalty=1.0)
    assert found.tokens == (1, 2, 0)
    assert found.log_p == pytest.approx(math.log(0.35))
    assert found.score == pytest.approx(math.log(0.35) / 3)


def test_of_equals_the_lower_token_comes_first():
    branches = {"": {4: 0.25, 2: 0.25, 3: 0.25, 1: 0.25}}
    assert texts(search(branches, width=4, best=4)) == ["10", "20", "30", "40"]
    assert texts(search(branches, width=2, best=2)) == ["10", "20"]


def test_groups_avoid_what_the_groups_before_them_took():
    branches = {"": {1: 0.5, 2: 0.3, 3: 0.2}}
    found = search(branches, width=3, groups=3, diversity=5.0, best=3)
    assert texts(found) == ["10", "20", "30"]
    assert [hypothesis.log_p for hypothesis in found] == pytest.approx([math.log(p) for p in (0.5, 0.3, 0.2)])
    assert texts(search(branches, width=3, groups=3, diversity=0.1, best=3)) == ["10"]  # all find the same, told once


def test_a_row_ends_by_what_the_caller_says():
    branches = {"": {1: 1.0}, "1": {2: 1.0}, "12": {3: 1.0}}
    assert texts(search(branches, width=2, finished=lambda ids: list(ids) == [1, 2])) == ["12"]
    assert texts(search(branches, width=2, tokens=3)) == ["123"]


def test_fewer_are_found_where_fewer_are_possible():
    assert texts(search({"": {1: 1.0}}, width=4, best=4)) == ["10"]
    nothing = search({"": {1: 1.0}, "1": {}}, width=2)
    assert nothing == []


def counting(step, rows):
    def counted(token, state):
        rows.append(len(token))
        return step(token, state)

    return counted


def test_rows_are_no_more_than_are_needed():
    rows = []
    step, _ = tree(GARDEN)
    state, prompt = torch.zeros(3, dtype=torch.int64), torch.full((1, 3), START)
    found = beam_search(counting(step, rows), state, prompt, width=2, tokens=torch.tensor([1, 2, 9]), end=0, best=2)
    assert [texts(row) for row in found] == [["1", "2"], ["25", "13"], ["250", "130"]]
    # the first input is over after a token, the second after two; the greedy path is in each beam
    assert rows == [3, 4, 2]


def test_the_search_ends_once_nothing_can_come_before_what_was_found():
    endless = {"": {0: 0.6, 1: 0.4}} | {"1" * n: {1: 1.0} for n in range(1, 100)}
    rows = []
    step, state = tree(endless)
    step = counting(step, rows)
    beam_search(step, state, torch.tensor([[START]]), width=2, tokens=15, end=0)
    assert len(rows) == 1
    beam_search(step, state, torch.tensor([[START]]), width=2, tokens=15, end=0, best=2)
    assert len(rows) == 1 + 15


def test_a_prefill_takes_the_place_of_reading_step_by_step():
    step, state = tree(GARDEN)

    def prefill(prompt, state):
        assert prompt.tolist() == [[START]]
        return step(prompt[0], state)

    def never(token, state):
        raise AssertionError

    found = beam_search(never, state, torch.tensor([[START]]), prefill=prefill, width=2, tokens=1)
    assert texts(found[0]) == ["1"]


class Ending(Control):
    """Adds an end behind the vocabulary, which must come after two tokens and not before; bans a token."""

    def start(self, prompt):
        return torch.zeros(prompt.shape[1], dtype=torch.int64)

    def apply(self, logits, state):
        logits = torch.cat([logits, torch.zeros(len(logits), 1, dtype=logits.dtype)], 1)
        logits[state < 2, -1] = -math.inf
        logits[state >= 2, :-1] = -math.inf
        logits[:, 2] = -math.inf
        return logits

    def advance(self, state, token):
        return state + 1


def test_controls_hold_in_a_beam():
    step, state = tree(GARDEN)
    controlled = Controlled(step, lambda prompt, state: step(prompt[0], state), [Ending()], 10)
    (found,) = beam_search(
        controlled.step, state, torch.tensor([[START]]), prefill=controlled.prefill, width=4, tokens=5, end=10, best=4
    )
    assert [hypothesis.tokens for hypothesis in found] == [(1, 3, 10), (1, 4, 10)]
    assert [hypothesis.log_p for hypothesis in found] == pytest.approx([math.log(0.5)] * 2)  # of what is allowed


def test_no_graph_is_kept_and_nothing_is_changed():
    weight = torch.ones(10, requires_grad=True)
    step, state = tree(GARDEN)

    def learned(token, state):
        logits, state = step(token, state)
        return logits * weight, state

    beam_search(learned, state, torch.tensor([[START]]), width=2, tokens=3, end=0)
    assert state.tolist() == [0]
    assert weight.grad is None
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"width": 0}, "width"),
        ({"width": 2, "best": 0}, "best"),
        ({"width": 2, "best": 3}, "no 3 best"),
        ({"width": 4, "length_penalty": -1.0}, "length_penalty"),
        ({"width": 4, "length_penalty": math.nan}, "length_penalty"),
        ({"width": 4, "length_penalty": 11.0}, "length_penalty"),
        ({"width": 4, "groups": 0}, "groups"),
        ({"width": 4, "groups": 3, "diversity": 1.0}, "no 3 groups"),
        ({"width": 4, "groups": 2}, "go together"),
        ({"width": 4, "diversity": 0.5}, "go together"),
        ({"width": 4, "groups": 2, "diversity": -0.5}, "diversity"),
        ({"width": 4, "groups": 2, "diversity": math.inf}, "finite"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(settings, says):
    with pytest.raises(ConfigError, match=says):
        Beam(**settings)
    with pytest.raises(ConfigError, match=says):
        search(GARDEN, **settings)


def test_a_beam_wider_than_the_vocabulary():
    Beam(width=10).check_vocabulary(10)
    with pytest.raises(ConfigError, match="a beam of 11 is wider than the vocabulary of 10 tokens"):
        Beam(width=11).check_vocabulary(10)


def test_no_tokens_are_nothing_to_look_for():
    with pytest.raises(ConfigError, match="tokens"):
        search(GARDEN, width=1, tokens=0)


@pytest.mark.parametrize("prompt", [torch.zeros(0, 1, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)])
def test_a_prompt_without_tokens_or_rows_is_refused(prompt):
    step, state = tree(GARDEN)
    with pytest.raises(ShapeError, match="one token at least"):
        beam_search(step, state, prompt, width=1, tokens=1)


def test_limits_and_rows_must_agree():
    step, state = tree(GARDEN)
    with pytest.raises(ShapeError, match="1 rows, and there are limits for 2"):
        beam_search(step, state, torch.tensor([[START]]), width=1, tokens=torch.tensor([1, 2]))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_model_that_has_diverged(wrong):
    def step(token, state):
        return torch.full((len(token), 3), wrong), state

    with pytest.raises(DivergedError, match="not numbers"):
        beam_search(step, (), torch.tensor([[0]]), width=2, tokens=2)
