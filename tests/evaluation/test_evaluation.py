"""Perplexity is a property of model and text, whatever the batch; every token but the first is predicted once."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data import Corpus
from recurra.evaluation import Score, evaluate, surprisals
from recurra.models import LanguageModel
from recurra.testing.tolerances import TOLERANCES


@pytest.fixture(scope="module")
def setting():
    corpus = Corpus.from_text("pack my box with five dozen liquor jugs; " * 30, tokenizer="char", valid=0.5)
    torch.manual_seed(0)
    return LanguageModel(corpus.vocabulary, cell="gru", hidden=8).double(), corpus


@torch.no_grad()
def by_hand(model, ids, reset_every=None):
    """Nats per token, one step at a time."""
    state, total = model.zero_state(1), 0.0
    for position, (token, target) in enumerate(pairwise(ids)):
        if reset_every and position % reset_every == 0:
            state = model.zero_state(1)
        logits, state = model.step(torch.tensor([int(token)]), state)
        total -= float(logits.log_softmax(-1)[0, int(target)])
    return total / (len(ids) - 1)


def test_one_stream_is_the_definition(setting):
    model, corpus = setting
    score = evaluate(model, corpus.valid)
    assert score.tokens == len(corpus.valid) - 1
    assert score.loss_nats == pytest.approx(by_hand(model, corpus.valid.ids), **_tolerance())


def test_resets_are_the_definition(setting):
    model, corpus = setting
    score = evaluate(model, corpus.valid, reset_every=7)
    assert score.tokens == len(corpus.valid) - 1
    assert score.loss_nats == pytest.approx(by_hand(model, corpus.valid.ids, 7), **_tolerance())


@given(batch=st.integers(1, 40), warmup=st.integers(0, 60))
@settings(max_examples=25, deadline=None)
def test_rows_count_every_token_once(setting, batch, warmup):
    model, corpus = setting
    assert evaluate(model, corpus.valid, batch=batch, warmup=warmup).tokens == len(corpus.valid) - 1


def test_a_long_warmup_gives_the_result_of_one_stream(setting):
    model, corpus = setting
    one = evaluate(model, corpus.valid)
    rows = evaluate(model, corpus.valid, batch=3, warmup=len(corpus.valid))
    assert rows.loss_nats == pytest.approx(one.loss_nats, rel=1e-6)


def test_surprisals_add_up_to_the_loss(setting):
    model, corpus = setting
    scores = surprisals(model, np.asarray(corpus.valid.ids), alternatives=3, window=50)
    assert np.isnan(scores.bits[0])
    assert np.nanmean(scores.bits) * math.log(2) == pytest.approx(
        evaluate(model, corpus.valid).loss_nats, **_tolerance()
    )
    assert scores.alternatives.shape == (len(corpus.valid), 3)
    assert (np.diff(scores.alternative_bits[1:], axis=1) >= 0).all()


def test_a_large_vocabulary_needs_no_logits_of_all_tokens(largest_tensor):
    corpus = Corpus.from_text(" ".join(2 * [f"w{number}" for number in range(3000)]), tokenizer="word", valid=0.4)
    model = LanguageModel(corpus.vocabulary, cell="gru", hidden=8)
    all_logits = (len(corpus.valid) - 1) * len(model.vocabulary)
    with largest_tensor() as largest:
        score = evaluate(model, corpus.valid)
        scores = surprisals(model, np.asarray(corpus.valid.ids), alternatives=1)
    assert len(model.vocabulary) <= largest.numel < all_logits
    assert np.nanmean(scores.bits) * math.log(2) == pytest.approx(score.loss_nats, rel=1e-5)


def test_evaluation_leaves_the_mode_as_it_was(setting):
    model, corpus = setting
    model.train()
    evaluate(model, corpus.valid)
    assert model.training
    model.eval()


def test_units():
    score = Score(tokens=10, loss_nats=math.log(4), accuracy=0.5, seconds=1.0, chars=40)
    assert score.perplexity == pytest.approx(4)
    assert score.bits_per_token == pytest.approx(2)
    assert score.bits_per_char == pytest.approx(0.5)
    assert Score(1, 1e4, 0.0, 0.0).perplexity == math.inf


def _tolerance():
    table = TOLERANCES[torch.float64]
    return {"rel": table["rtol"], "abs": table["atol"]}
