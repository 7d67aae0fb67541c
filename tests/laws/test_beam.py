"""The laws of beam search, against definitions written as simply as can be."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.cells import GRU, LSTM, Elman
from recurra.decoding import Sampler, beam_search, generate, make_generators

laws = settings(deadline=None, max_examples=60)
few = settings(deadline=None, max_examples=15)


class Table:
    """A model whose scores of the next token depend on all tokens before it, exactly, whatever stands beside them."""

    def __init__(self, seed, vocabulary, *, kinds=97, whole=False, forbidden=0.0):
        generator = torch.Generator().manual_seed(seed)
        self.vocabulary = vocabulary
        self.scores = 2 * torch.randn(kinds, vocabulary, generator=generator, dtype=torch.float64)
        if whole:  # many are equal
            self.scores = self.scores.round()
        self.scores[torch.rand(kinds, vocabulary, generator=generator) < forbidden] = -math.inf

    def fresh(self, rows):
        return torch.zeros(rows, dtype=torch.int64)

    def step(self, token, state):
        state = (31 * state + token + 1) % len(self.scores)
        return self.scores[state], state

    def log_p(self, prompt, tokens):
        """Return a list of ln p of the next token."""
        state = self.fresh(1)
        for token in [*prompt, *tokens]:
            logits, state = self.step(torch.tensor([token]), state)
        return [] if logits.isneginf().all() else logits[0].log_softmax(-1).tolist()

    def search(self, prompts, **options):
        prompt = torch.tensor(prompts).T
        return beam_search(self.step, self.fresh(len(prompts)), prompt, **options)


def score(log_p, length, alpha):
    return log_p / length**alpha


def ranked(found, alpha, best):
    """Return distinct sequences, the best first, of equals the one that ended first."""
    found = list(dict(found).items())
    return sorted(found, key=lambda pair: -score(pair[1], len(pair[0]), alpha))[:best]


def naive(table, prompt, *, width, tokens, end, alpha=0.0, groups=1, diversity=0.0, best=1):
    """Search with a beam for one prompt: every continuation of all that runs, no early stop, nothing shared."""

    def run(places, costs, running):
        options = []
        for sequence, log_p in running:
            following = enumerate(table.log_p(prompt, sequence))
            for token, nats in sorted(following, key=lambda pair: -pair[1]):
                if nats > -math.inf:
                    options.append((log_p + nats - diversity * costs[token], (*sequence, token), log_p + nats))
        options.sort(key=lambda option: -option[0])
        return [(sequence, log_p) for _, sequence, log_p in options[:places]]

    sizes = [width // groups] * groups + [1]
    lanes = [[((), 0.0)] for _ in sizes]
    found = []
    while any(lanes):
        costs = Counter()
        for number, lane in enumerate(lanes):
            chosen = run(sizes[number], costs if number < groups else Counter(), lane)
            ended = [pair for pair in chosen if pair[0][-1] == end or len(pair[0]) == tokens]
            found += ended
            sizes[number] -= len(ended)
            lanes[number] = [pair for pair in chosen if pair not in ended]
            costs.update(sequence[-1] for sequence, _ in chosen)
    seen = set()
    return ranked([pair for pair in found if not (pair[0] in seen or seen.add(pair[0]))], alpha, best)


def every(table, prompt, *, tokens, end):
    """Return ln p of every sequence that ends or is as long as can be."""
    found, running = [], [((), 0.0)]
    while running:
        going = []
        for sequence, log_p in running:
            for token, nats in enumerate(table.log_p(prompt, sequence)):
                if nats > -math.inf:
                    longer = (*sequence, token), log_p + nats
                    (found if token == end or len(longer[0]) == tokens else going).append(longer)
        running = going
    return found


def check(hypotheses, expected, alpha):
    assert [found.tokens for found in hypotheses] == [sequence for sequence, _ in expected]
    for found, (sequence, log_p) in zip(hypotheses, expected, strict=True):
        assert found.log_p == pytest.approx(log_p, abs=1e-12)
        assert found.score == pytest.approx(score(log_p, len(sequence), alpha), abs=1e-12)


alphas = st.sampled_from([0.0, 0.6, 1.0, 2.0])
ends = st.sampled_from([None, 0, 1])


@laws
@given(st.data(), st.integers(0, 10**6), st.booleans(), st.sampled_from([0.0, 0.3]), alphas, ends)
def test_search_equals_its_definition(data, seed, whole, forbidden, alpha, end):
    table = Table(seed, data.draw(st.integers(2, 6)), whole=whole, forbidden=forbidden)
    groups = data.draw(st.integers(1, 3))
    width = groups * data.draw(st.integers(1, 4))
    options = {"width": width, "groups": groups, "diversity": 0.7 if groups > 1 else 0.0}
    options["best"] = data.draw(st.integers(1, width))
    prompts = data.draw(st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2), min_size=1, max_size=4))
    limits = [data.draw(st.integers(1, 6)) for _ in prompts]
    found = table.search(prompts, tokens=torch.tensor(limits), end=end, length_penalty=alpha, **options)
    for row, prompt, limit in zip(found, prompts, limits, strict=True):
        check(row, naive(table, prompt, tokens=limit, end=end, alpha=alpha, **options), alpha)


@laws
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 4), alphas, ends, st.sampled_from([0.0, 0.3]))
def test_a_beam_that_is_wide_enough_finds_all_there_is(seed, vocabulary, tokens, alpha, end, forbidden):
    table = Table(seed, vocabulary, forbidden=forbidden)
    prompts = [[0], [1]]
    width = vocabulary**tokens
    found = table.search(prompts, width=width, tokens=tokens, end=end, length_penalty=alpha, best=width)
    for row, prompt in zip(found, prompts, strict=True):
        all_there_is = ranked(every(table, prompt, tokens=tokens, end=end), alpha, None)
        assert {found.tokens for found in row} == {sequence for sequence, _ in all_there_is}
        assert [found.score for found in row] == pytest.approx(
            [score(log_p, len(sequence), alpha) for sequence, log_p in all_there_is], abs=1e-12
        )
    single = table.search(prompts, width=width, tokens=tokens, end=end, length_penalty=alpha)
    assert single == [row[:1] for row in found]


class Recurrent:
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

    def search(self, prompt, **options):
        return beam_search(self.step, self.cell.zero_state(prompt.shape[1]), prompt, **options)


def greedy(table, prompt, *, tokens, end):
    """Return the greedy path of one prompt and ln of its probability."""
    draws = generate(
        table.step,
        table.fresh(1),
        torch.tensor([prompt]).T,
        tokens=tokens,
        generators=make_generators(0, 1),
        sampler=Sampler(greedy=True),
        end=end,
    )
    path = [int(draw.ids) for draw in draws]
    return tuple(path), sum(table.log_p(prompt, path[:n])[token] for n, token in enumerate(path))


@laws
@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans(), alphas, ends, st.integers(1, 7))
def test_width_1_is_greedy(seed, vocabulary, whole, alpha, end, tokens):
    table = Table(seed, vocabulary, whole=whole)
    ((found,),) = table.search([[0, 1]], width=1, tokens=tokens, end=end, length_penalty=alpha)
    path, log_p = greedy(table, [0, 1], tokens=tokens, end=end)
    assert found.tokens == path
    assert found.log_p == pytest.approx(log_p, abs=1e-12)


@laws
@given(st.integers(0, 10**6), st.integers(2, 6), alphas, ends, st.integers(1, 7), st.sampled_from([2, 3, 4, (4, 2)]))
def test_no_beam_finds_less_than_greedy(seed, vocabulary, alpha, end, tokens, width):
    table = Table(seed, vocabulary)
    width, groups = width if isinstance(width, tuple) else (width, 1)
    options = {"groups": groups, "diversity": 0.5 if groups > 1 else 0.0, "length_penalty": alpha}
    ((found,),) = table.search([[0, 1]], width=width, tokens=tokens, end=end, **options)
    path, log_p = greedy(table, [0, 1], tokens=tokens, end=end)
    assert found.score >= score(log_p, len(path), alpha) - 1e-12
    if alpha == 0:
        assert found.log_p >= log_p - 1e-12


@pytest.mark.parametrize("cell", [Elman, LSTM, GRU])
@few
@given(
    prompts=st.lists(st.lists(st.integers(0, 8), min_size=2, max_size=2), min_size=1, max_size=4),
    limits=st.lists(st.integers(1, 7), min_size=4, max_size=4),
    width=st.integers(1, 4),
    alpha=alphas,
)
def test_what_is_found_does_not_depend_on_the_rows_beside(cell, prompts, limits, width, alpha):
    model, prompt = Recurrent(cell), torch.tensor(prompts).T
    limit = torch.tensor(limits[: len(prompts)])
    options = {"width": width, "end": 0, "length_penalty": alpha, "best": width}
    together = model.search(prompt, tokens=limit, **options)
    for row in range(len(prompts)):
        (alone,) = model.search(prompt[:, row : row + 1], tokens=int(limit[row]), **options)
        assert [found.tokens for found in together[row]] == [found.tokens for found in alone]
        assert [found.log_p for found in together[row]] == pytest.approx([found.log_p for found in alone], abs=1e-9)
