"""Tokens that are never written."""

import torch

from recurra.decoding import Controlled, Sampler, Withheld, generate, make_generators


def step(token, state):
    """Like token 1 best, whatever came before, then 0, then the others alike."""
    return torch.tensor([2.0, 9.0, 0.0, 0.0]).expand(len(token), 4), state


def prefill(prompt, state):
    return step(prompt[-1], state)


def draw(controls, samples=500, tokens=4):
    controlled = Controlled(step, prefill, controls, 4)
    prompt, generators = torch.tensor([[1]]), make_generators(0, samples)
    draws = generate(
        controlled.step, (), prompt, tokens=tokens, generators=generators, sampler=Sampler(), prefill=controlled.prefill
    )
    return torch.stack([draw.ids for draw in draws])


def test_what_is_withheld_is_never_drawn_and_the_rest_as_before():
    assert (draw([]) == 1).float().mean() > 0.99
    ids = draw([Withheld([1, 3])])
    assert set(ids.unique().tolist()) == {0, 2}
    wanted = torch.tensor([2.0, 0.0]).softmax(0)[0]
    deviation = (wanted * (1 - wanted) / ids.numel()).sqrt()
    assert abs((ids == 0).double().mean() - wanted) < 4 * deviation


def test_scores_given_are_not_changed():
    logits = torch.zeros(2, 4)
    assert Withheld([2]).apply(logits, ()).tolist() == [[0, 0, -torch.inf, 0]] * 2
    assert logits.eq(0).all()
