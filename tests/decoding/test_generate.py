"""The loop that draws, reads and draws again, on a fake model whose answers can be counted by hand."""

from typing import NamedTuple

import pytest
import torch

from recurra.decoding import Sampler, generate, make_generators
from recurra.errors import ShapeError

VOCABULARY = 7


class Sum(NamedTuple):
    """What has been read, added up, (B, 1)."""

    total: torch.Tensor


def fresh(rows=1):
    return Sum(torch.zeros(rows, 1, dtype=torch.int64))


def sharp(token, state):
    """Next is the sum of all that was read, without doubt."""
    total = state.total + token[:, None]
    return 20.0 * torch.nn.functional.one_hot(total[:, 0] % VOCABULARY, VOCABULARY), Sum(total)


def vague(token, state):
    """As `sharp`, with every token possible."""
    logits, state = sharp(token, state)
    return logits / 15.0, state


def column(*ids):
    return torch.tensor(ids)[:, None]


def texts(draws):
    return torch.stack([draw.ids for draw in draws], 1).tolist()


def test_each_token_is_read_before_the_next_is_drawn():
    draws = generate(sharp, fresh(), column(1, 2), tokens=5, generators=make_generators(0, 1))
    assert texts(draws) == [[3, 6, 5, 3, 6]]  # 3, 6, 12, 24, 48 modulo 7


def test_rows_may_have_prompts_of_their_own():
    prompt = torch.tensor([[1, 3], [2, 1]])
    draws = generate(sharp, fresh(2), prompt, tokens=2, generators=make_generators(0, 2))
    assert texts(draws) == [[3, 6], [4, 1]]


def test_a_draw_comes_before_anything_after_it_is_computed():
    calls = []

    def counted(token, state):
        calls.append(token.tolist())
        return sharp(token, state)

    draws = generate(counted, fresh(), column(1, 2), tokens=3, generators=make_generators(0, 1))
    assert calls == []
    assert next(draws).ids.tolist() == [3]
    assert calls == [[1], [2]]
    assert next(draws).ids.tolist() == [6]
    assert calls == [[1], [2], [3]]
    assert [draw.ids.tolist() for draw in draws] == [[5]]
    assert calls == [[1], [2], [3], [6]]


def test_one_prompt_is_read_once_for_all_samples():
    widths = []

    def counted(token, state):
        widths.append(len(token))
        return vague(token, state)

    draws = generate(counted, fresh(), column(1, 2, 3), tokens=2, generators=make_generators(0, 4))
    assert [len(draw.ids) for draw in draws] == [4, 4]
    assert widths == [1, 1, 1, 4]


def test_a_prefill_takes_the_place_of_reading_step_by_step():
    def prefill(tokens, state):
        total = state.total + tokens.sum(0)[:, None]
        return vague(torch.zeros(tokens.shape[1], dtype=torch.int64), Sum(total))

    plain = generate(vague, fresh(), column(1, 2, 3), tokens=9, generators=make_generators(4, 3))
    quick = generate(vague, fresh(), column(1, 2, 3), tokens=9, generators=make_generators(4, 3), prefill=prefill)
    assert texts(plain) == texts(quick)


def test_the_sampler_decides():
    greedy = generate(
        vague, fresh(), column(1, 2), tokens=5, generators=make_generators(0, 2), sampler=Sampler(greedy=True)
    )
    assert texts(greedy) == [[3, 6, 5, 3, 6]] * 2


def test_neither_state_nor_prompt_is_changed_and_no_graph_is_kept():
    weight = torch.ones(VOCABULARY, requires_grad=True)
    state, prompt = fresh(), column(1, 2)

    def learned(token, state):
        logits, state = sharp(token, state)
        return logits * weight, state

    for draw in generate(learned, state, prompt, tokens=3, generators=make_generators(0, 1)):
        assert torch.is_grad_enabled()  # the reader's own work is not affected
        assert not draw.state.total.requires_grad
    assert state.total.item() == 0
    assert prompt.flatten().tolist() == [1, 2]


def test_no_tokens_no_draws():
    assert list(generate(sharp, fresh(), column(1), tokens=0, generators=make_generators(0, 1))) == []


@pytest.mark.parametrize("prompt", [torch.zeros(0, 1, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)])
def test_a_prompt_without_tokens_or_rows_is_refused_at_once(prompt):
    with pytest.raises(ShapeError, match="one token at least"):
        generate(sharp, fresh(), prompt, tokens=1, generators=make_generators(0, 1))


def test_rows_and_generators_must_agree():
    with pytest.raises(ShapeError, match="2 rows for 3 generators"):
        generate(sharp, fresh(2), torch.zeros(1, 2, dtype=torch.int64), tokens=1, generators=make_generators(0, 3))


def ends(rows):
    """At each step ends the row that has read as many tokens as its first one says; the end is token 6."""

    def step(token, state):
        total = state.total + 1
        going = torch.nn.functional.one_hot(token.clamp(max=5), VOCABULARY) * 20.0
        over = torch.nn.functional.one_hot(torch.full_like(token, 6), VOCABULARY) * 20.0
        return torch.where(total >= token[:, None], over, going), Sum(total)

    prompt = torch.tensor([rows])
    return list(generate(step, fresh(len(rows)), prompt, tokens=9, generators=make_generators(0, len(rows)), end=6))


def test_a_row_that_has_ended_stays_so_and_is_not_read_again():
    draws = ends([3, 1, 5])
    assert texts(draws) == [[3, 3, 6, 6, 6], [6, 6, 6, 6, 6], [5, 5, 5, 5, 6]]
    # Of each row, the state when it drew its end.
    assert [draw.state.total.flatten().tolist() for draw in draws] == [
        [1, 1, 1], [2, 1, 2], [3, 1, 3], [3, 1, 4], [3, 1, 5],
    ]  # fmt: skip


def test_samples_and_seeds_do_not_share_numbers():
    numbers = [torch.rand((), generator=g).item() for seed in range(20) for g in make_generators(seed, 20)]
    assert len(set(numbers)) == 400
