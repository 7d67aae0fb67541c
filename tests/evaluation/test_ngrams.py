"""Kneser-Ney n-grams: probabilities by the equations, beside a naive definition and a library that others use."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data import Corpus, Tokens
from recurra.errors import ConfigError, CorpusError
from recurra.evaluation import NgramModel
from recurra.libraries import need

V = 4
texts = st.lists(st.integers(0, V - 2), min_size=2, max_size=40)  # the last token is never seen
BEGIN = V


def padded_ngrams(ids, order):
    """The n-grams that end at each token but the first; nothing but beginnings stands before the text."""
    long = [BEGIN] * (order - 1) + list(ids)
    return [tuple(long[p : p + order]) for p in range(1, len(ids))]


def naive(ids, order, discounts, token, context):
    """p(token | context), by counting anew for every question."""
    grams = padded_ngrams(ids, order)

    def a(gram):
        """Times of the longest, else different tokens before it."""
        k = len(gram)
        if k == order:
            return grams.count(gram)
        return len({g[-k - 1] for g in grams if g[len(g) - k :] == gram})

    p = 1 / V
    for k in range(order):
        ctx = tuple(context[len(context) - k :]) if k else ()
        counts = [a((*ctx, v)) for v in range(V)]
        if not sum(counts):
            break
        D = [discounts[k][min(c, 3) - 1] if c else 0 for c in counts]
        p = (counts[token] - D[token] + sum(D) * p) / sum(counts)
    return p


@given(texts, st.integers(1, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_the_definition(ids, order, data):
    discounts = data.draw(st.lists(st.tuples(*[st.floats(0.1, 1.0)] * 3), min_size=order, max_size=order))
    other = data.draw(st.lists(st.integers(0, V - 1), min_size=2, max_size=8))
    model = NgramModel.fit(Tokens(np.array(ids)), order=order, vocab=V, discounts=discounts)
    bits = model.surprisals(np.array(other))
    long = [BEGIN] * (order - 1) + other
    expected = [naive(ids, order, discounts, other[p], long[p : p + order - 1]) for p in range(1, len(other))]
    assert np.isnan(bits[0])
    assert 2.0 ** -bits[1:] == pytest.approx(expected, rel=1e-10)


@given(texts, st.integers(1, 4), st.lists(st.integers(0, V - 1), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_probabilities_sum_to_one_and_nothing_is_impossible(ids, order, context):
    model = NgramModel.fit(Tokens(np.array(ids)), order=order, vocab=V)
    p = [2.0 ** -model.surprisals(np.array([*context, token]))[-1] for token in range(V)]
    assert sum(p) == pytest.approx(1)
    assert min(p) > 0


@given(texts, st.integers(2, 4), st.floats(0.05, 0.95))
@settings(max_examples=25, deadline=None)
def test_it_is_what_nltk_computes(ids, order, discount):
    """Without a uniform distribution below the unigram, which nltk does not have."""
    lm = need("nltk.lm")
    names = "abcd."  # it takes nothing but strings
    grams = [tuple(names[i] for i in gram) for gram in padded_ngrams(ids, order)]
    counts = lm.NgramCounter([[gram[-k:] for gram in grams for k in range(1, order + 1)]])
    theirs = lm.KneserNeyInterpolated(order, discount=discount, vocabulary=lm.Vocabulary(names), counter=counts)
    discounts = np.full((order, 3), discount)
    discounts[0] = 0
    ours = NgramModel.fit(Tokens(np.array(ids)), order=order, vocab=V, discounts=discounts)
    expected = [theirs.score(gram[-1], gram[:-1]) for gram in grams]
    assert 2.0 ** -ours.surprisals(np.array(ids))[1:] == pytest.approx(expected, rel=1e-10)


def test_a_tiny_example_by_hand():
    """a b a b a: the bigrams ab, ba, ab, ba; every token was seen after one other."""
    model = NgramModel.fit(Tokens(np.array([0, 1, 0, 1, 0])), order=2, vocab=3, discounts=np.full((2, 3), 0.5))
    unigram = (1 - 0.5) / 2 + (2 * 0.5) / 2 / 3
    assert 2.0 ** -model.surprisals(np.array([0, 1]))[1] == pytest.approx((2 - 0.5) / 2 + 0.5 / 2 * unigram)
    assert 2.0 ** -model.surprisals(np.array([0, 2]))[1] == pytest.approx(0.5 / 2 * (2 * 0.5) / 2 / 3)


def test_an_order_of_one_counts_tokens():
    ids = np.array([0, 0, 0, 1, 0, 2])  # the first is not predicted
    model = NgramModel.fit(Tokens(ids), order=1, vocab=3, discounts=[[0.0, 0.0, 0.0]])
    counts = Counter(ids[1:].tolist())
    for token in range(3):
        assert 2.0 ** -model.surprisals(np.array([0, token]))[1] == pytest.approx(counts[token] / 5)


def test_discounts_are_those_of_chen_and_goodman():
    """With n_1 = 4, n_2 = 2, n_3 = 1, n_4 = 1: Y = 4 / 8."""
    ids = np.array([9, *[0] * 4, *[1] * 3, *[2] * 2, *[3] * 2, 4, 5, 6, 7])
    found = NgramModel.fit(Tokens(ids), order=1, vocab=10)
    D = [1 - 2 * 0.5 * 2 / 4, 2 - 3 * 0.5 * 1 / 2, 3 - 4 * 0.5 * 1 / 1]
    assert D == [0.5, 1.25, 1.0]
    given_them = NgramModel.fit(Tokens(ids), order=1, vocab=10, discounts=[D])
    text = np.arange(10)
    assert found.surprisals(text)[1:] == pytest.approx(given_them.surprisals(text)[1:])


def test_documents_do_not_see_each_other():
    """The end of a document begins the next; what came before is no context."""
    ids, documents = np.array([2, 3, 0, 2, 3, 0, 3, 1, 2, 3]), [0, 7]
    model = NgramModel.fit(Tokens(ids, documents), order=3, vocab=4)
    bits = model.surprisals(ids, documents)
    assert bits[7] < model.surprisals(ids)[7] - 0.1
    assert bits[7:] == pytest.approx(model.surprisals(np.array([0, 0, 3, 1, 2, 3]), [0, 3])[3:])
    assert bits[7:] == pytest.approx(model.surprisals(np.array([3, 1, 2, 3]))[1:])


def test_it_is_the_same_in_pieces(monkeypatch):
    corpus = Corpus.from_text("the cat sat on the mat. " * 20, valid=0.3)
    model = NgramModel.fit(corpus.train, order=4, vocab=len(corpus.vocabulary))
    whole = model.surprisals(corpus.valid.ids)
    monkeypatch.setattr("recurra.evaluation.ngrams.MOST_AT_ONCE", 7)
    assert np.array_equal(model.surprisals(corpus.valid.ids), whole, equal_nan=True)
    assert model.nats(corpus.valid) == pytest.approx(np.nanmean(whole) * np.log(2))


def test_longer_ngrams_predict_better_what_repeats():
    corpus = Corpus.from_text("".join(f"{a}{b} " for a, b in product("abcde", "fghij")) * 9, valid=0.3)
    nats = [
        NgramModel.fit(corpus.train, order=order, vocab=len(corpus.vocabulary)).nats(corpus.valid)
        for order in (1, 2, 6)
    ]
    assert nats == sorted(nats, reverse=True)


def test_progress_goes_from_one_to_all():
    seen = []
    NgramModel.fit(Tokens(np.arange(5)), order=3, vocab=5, progress=lambda *at: seen.append(at))
    assert seen == [(n, 5) for n in range(1, 6)]


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ConfigError, match="at least 1 token"):
        NgramModel.fit(Tokens(np.arange(5)), order=0, vocab=5)
    with pytest.raises(CorpusError, match="at least 2 tokens"):
        NgramModel.fit(Tokens(np.arange(1)), order=2, vocab=5)
    with pytest.raises(ConfigError, match="cannot be numbered"):
        NgramModel.fit(Tokens(np.arange(4)), order=2, vocab=2**60)
