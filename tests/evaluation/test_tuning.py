"""Tuning takes the best of what it tries, and tries it on the beginning of the text alone."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from recurra.data import Corpus, Tokens
from recurra.errors import ConfigError
from recurra.evaluation import DynamicConfig, evaluate, evaluate_dynamic, gradient_sizes, tune, tuning
from recurra.models import CacheConfig, CachedLanguageModel, LanguageModel

GRID = {"RATES": (1e-3, 1e-2, 1e300), "DECAYS": (0.0, 0.05), "THETAS": (0.0, 5.0), "WEIGHTS": (0.05, 0.6)}
DYNAMIC, CACHE, LIMIT = DynamicConfig(sample=200, rows=4, epsilon=0.01), CacheConfig(size=20), 60


@pytest.fixture(scope="module")
def setting():
    corpus = Corpus.from_text("pack my box with five dozen liquor jugs; " * 10, tokenizer="char", valid=0.4)
    torch.manual_seed(0)
    model = LanguageModel(corpus.vocabulary, cell="gru", hidden=5).double().eval()
    return model, corpus, gradient_sizes(model, corpus.train, DYNAMIC)


@pytest.fixture(autouse=True)
def _small_grid(monkeypatch):
    for name, values in GRID.items():
        monkeypatch.setattr(tuning, name, values)


def caches():
    return [replace(CACHE, theta=t, weight=w) for t, w in product(GRID["THETAS"], GRID["WEIGHTS"])]


def beginning(corpus):
    return Tokens(corpus.valid.ids[:LIMIT])


def test_the_best_cache_is_chosen(setting):
    model, corpus, _ = setting
    losses = {cache: evaluate(CachedLanguageModel(model, cache), beginning(corpus)).loss_nats for cache in caches()}
    found = tune(model, corpus.valid, cache=CACHE, limit=LIMIT)
    assert found.cache == min(losses, key=losses.get)
    assert found.perplexity == pytest.approx(np.exp(min(losses.values())))
    assert (found.dynamic, found.tokens) == (None, LIMIT)


def test_the_best_rate_then_the_best_decay_then_the_cache_behind_them(setting):
    model, corpus, sizes = setting
    text = beginning(corpus)

    def loss(dynamic, cache=None):
        given = model if cache is None else CachedLanguageModel(model, cache)
        return evaluate_dynamic(given, text, sizes, dynamic).loss_nats

    best = min((replace(DYNAMIC, rate=rate) for rate in GRID["RATES"][:2]), key=loss)  # the last diverges
    best = min((replace(best, decay=decay) for decay in GRID["DECAYS"]), key=loss)
    told = []
    found = tune(
        model, corpus.valid, cache=CACHE, dynamic=DYNAMIC, sizes=sizes, limit=LIMIT, progress=lambda *t: told.append(t)
    )
    assert found.dynamic == best
    assert found.cache == min(caches(), key=lambda cache: loss(best, cache))
    assert found.perplexity == pytest.approx(np.exp(loss(found.dynamic, found.cache)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


def test_a_short_text_is_read_whole(setting):
    model, corpus, _ = setting
    assert tune(model, corpus.valid, cache=CACHE).tokens == len(corpus.valid)


def test_what_cannot_be_tuned_is_refused(setting):
    model, corpus, _ = setting
    with pytest.raises(ConfigError, match="nothing to tune"):
        tune(model, corpus.valid)
    with pytest.raises(ConfigError, match="sizes"):
        tune(model, corpus.valid, dynamic=DYNAMIC)
