"""The laws of decoding: text does not depend on how it is cut, samples not on what runs beside them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.cells import GRU, LSTM, Elman
from recurra.decoding import Sampler, StopMatcher, TextStream, generate, make_generators

letters = st.text("ab", max_size=30)
stop_texts = st.lists(st.text("ab", min_size=1, max_size=5), max_size=3)


@st.composite
def cut(draw, whole):
    """A text or bytes in pieces, some of them empty."""
    length = len(whole)
    places = sorted(draw(st.lists(st.integers(0, length), max_size=10)))
    return [whole[a:b] for a, b in zip([0, *places], [*places, length], strict=True)]


def naive(text, stops):
    """The text before the stop text that is complete first: look at every beginning, shortest first."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


@settings(deadline=None)
@given(st.data(), letters, stop_texts)
def test_the_matcher_equals_the_naive_search(data, text, stops):
    matcher = StopMatcher(stops)
    shown = "".join([matcher.push(piece) for piece in data.draw(cut(text))]) + matcher.close()
    assert (shown, matcher.stopped) == naive(text, stops)
    assert not any(stop in shown for stop in stops)


@settings(deadline=None)
@given(letters, stop_texts)
def test_only_what_may_become_a_stop_text_is_held_back(text, stops):
    matcher = StopMatcher(stops)
    shown = ""
    for end, letter in enumerate(text, 1):
        shown += matcher.push(letter)
        if matcher.stopped:
            return
        held = text[len(shown) : end]
        assert not held or any(stop.startswith(held) for stop in stops)
        assert shown + held == text[:end]
        starts = [size for stop in stops for size in range(1, len(stop)) if text[:end].endswith(stop[:size])]
        assert len(held) == max(starts, default=0)


@settings(deadline=None)
@given(st.data(), st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_bytes_in_pieces_decode_as_the_whole(data, whole):
    stream = TextStream()
    assert "".join([stream.push(piece) for piece in data.draw(cut(whole))]) + stream.close() == whole.decode(
        "utf-8", "replace"
    )


class Model:
    """A small recurrent model in float64, of any cell."""

    def __init__(self, cell, vocabulary=9, hidden=6):
        torch.manual_seed(0)
        self.cell = cell(vocabulary, hidden, dtype=torch.float64)
        self.output = torch.randn(vocabulary, hidden, dtype=torch.float64) * 3
        self.vocabulary = vocabulary

    def step(self, token, state):
        x = torch.nn.functional.one_hot(token, self.vocabulary).double()
        h, state = self.cell.step(x, state)
        return h @ self.output.T, state

    def draws(self, generators, *, tokens, sampler, prompt=(1, 2, 3), state=None):
        prompt = torch.as_tensor(prompt).reshape(len(prompt), -1)
        state = self.cell.zero_state(prompt.shape[1]) if state is None else state
        return generate(self.step, state, prompt, tokens=tokens, generators=generators, sampler=sampler)


def ids(draws):
    return torch.stack([draw.ids for draw in draws], 1)


# How long a first step takes says nothing about a law.
few = settings(deadline=None, max_examples=15)
CELLS = pytest.mark.parametrize("cell", [Elman, LSTM, GRU])
samplers = st.sampled_from(
    [
        Sampler(),
        Sampler(temperature=2.0),
        Sampler(top_k=3),
        Sampler(top_p=0.9),
        Sampler(min_p=0.2),
        Sampler(typical=0.7),
        Sampler(greedy=True),
    ]
)


@CELLS
@few
@given(seed=st.integers(0, 2**40), samples=st.integers(1, 5), sampler=samplers)
def test_a_sample_does_not_depend_on_how_many_run_beside_it(cell, seed, samples, sampler):
    model = Model(cell)
    together = ids(model.draws(make_generators(seed, samples), tokens=8, sampler=sampler))
    for row in range(samples):
        alone = ids(model.draws([make_generators(seed, samples)[row]], tokens=8, sampler=sampler))
        assert torch.equal(alone[0], together[row])


@CELLS
@few
@given(seed=st.integers(0, 99), sampler=samplers)
def test_the_same_seed_gives_the_same_text_and_more_tokens_only_add_to_it(cell, seed, sampler):
    model = Model(cell)
    long = ids(model.draws(make_generators(seed, 2), tokens=9, sampler=sampler))
    short = ids(model.draws(make_generators(seed, 2), tokens=4, sampler=sampler))
    assert torch.equal(long[:, :4], short)


@CELLS
@few
@given(seed=st.integers(0, 99), first=st.integers(1, 7), sampler=samplers)
def test_stopping_and_going_on_changes_nothing(cell, seed, first, sampler):
    model = Model(cell)
    whole = ids(model.draws(make_generators(seed, 3), tokens=8, sampler=sampler))
    generators = make_generators(seed, 3)
    begun = list(model.draws(generators, tokens=first, sampler=sampler))
    last = begun[-1]
    rest = model.draws(generators, tokens=8 - first, sampler=sampler, prompt=last.ids[None], state=last.state)
    assert torch.equal(torch.cat([ids(begun), ids(rest)], 1), whole)
