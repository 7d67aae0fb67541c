"""Dynamic evaluation: nothing is scored after it was learned from, and the model comes back as it was."""

import math

import numpy as np
import pytest
import torch

from recurra.data import Corpus, Tokens
from recurra.errors import ConfigError, CorpusError, DivergedError
from recurra.evaluation import DynamicConfig, GradientSizes, evaluate, evaluate_dynamic, gradient_sizes
from recurra.models import CachedLanguageModel, LanguageModel
from recurra.testing.tolerances import TOLERANCES

TABLE = TOLERANCES[torch.float64]
CLOSE = {"rel": TABLE["rtol"], "abs": TABLE["atol"]}
CONFIG = DynamicConfig(rate=0.01, decay=0.05, epsilon=0.01, sample=400, rows=4)
FOREIGN = "gjqxz gjqxz gjqxz gjqxz gjqxz gjqxz gjqxz "


@pytest.fixture(scope="module")
def setting():
    corpus = Corpus.from_text("pack my box with five dozen liquor jugs; " * 20, tokenizer="char", valid=0.2)
    torch.manual_seed(0)
    model = LanguageModel(corpus.vocabulary, cell="gru", hidden=5).double().eval()
    return model, corpus, gradient_sizes(model, corpus.train, CONFIG)


def tokens_of(model, text):
    return Tokens(np.asarray(model.vocabulary.encode(text)))


def bits(model):
    return [p.detach().clone() for p in model.parameters()]


def same(model, before):
    return all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("length", [1, 4, 5, 6, 12, 15])
def test_what_a_token_is_does_not_reach_its_own_score(setting, cached, length):
    """Over all tokens that could come next, probabilities sum to one: a model that had seen it would exceed that."""
    model, _, sizes = setting
    given = CachedLanguageModel(model, size=7, weight=0.3) if cached else model
    ids = np.asarray(model.vocabulary.encode(FOREIGN))[:length]

    def nats(ids):
        return evaluate_dynamic(given, Tokens(ids), sizes, CONFIG).loss_nats * (len(ids) - 1) if len(ids) > 1 else 0.0

    before = nats(ids)
    total = sum(math.exp(before - nats(np.append(ids, last))) for last in range(len(model.vocabulary)))
    assert total == pytest.approx(1, **CLOSE)


def test_what_comes_later_changes_nothing_before(setting):
    model, _, sizes = setting
    ids = np.asarray(model.vocabulary.encode(FOREIGN))
    tampered = ids.copy()
    tampered[20] = ids[21]

    def scores(ids):
        ends = range(2, 31)
        sums = [evaluate_dynamic(model, Tokens(ids[:n]), sizes, CONFIG).loss_nats * (n - 1) for n in ends]
        return np.diff([0.0, *sums])  # of token 1, 2, ...

    changed = np.abs(scores(ids) - scores(tampered)) > TABLE["atol"] * 30
    assert not changed[:19].any()
    assert changed[19:].all()


def test_the_first_segment_is_that_of_the_model_and_later_ones_are_not(setting):
    model, _, sizes = setting
    text = tokens_of(model, FOREIGN)
    first = Tokens(text.ids[:6])
    assert evaluate_dynamic(model, first, sizes, CONFIG).loss_nats == pytest.approx(
        evaluate(model, first).loss_nats, **CLOSE
    )
    assert evaluate_dynamic(model, text, sizes, CONFIG).loss_nats < evaluate(model, text).loss_nats - 0.01


def test_without_rate_and_decay_it_is_plain_evaluation(setting):
    model, corpus, sizes = setting
    config = DynamicConfig(rate=0.0, decay=0.0)
    for given in (model, CachedLanguageModel(model, size=9)):
        found, plain = evaluate_dynamic(given, corpus.valid, sizes, config), evaluate(given, corpus.valid)
        assert (found.tokens, found.chars) == (plain.tokens, plain.chars)
        assert found.accuracy == plain.accuracy
        assert found.loss_nats == pytest.approx(plain.loss_nats, **CLOSE)


def test_documents_start_afresh(setting):
    model, _, sizes = setting
    ids, config = np.asarray(model.vocabulary.encode(FOREIGN))[:30], DynamicConfig(rate=0.0, decay=0.0)
    two = Tokens(ids, [0, 11])
    behind = CachedLanguageModel(model, size=9)
    found = evaluate_dynamic(behind, two, sizes, config).loss_nats
    assert found == pytest.approx(evaluate(behind, two).loss_nats, **CLOSE)
    assert found != pytest.approx(evaluate(behind, Tokens(ids)).loss_nats, **CLOSE)


CHANGES = {"segment": 7, "rate": 0.02, "decay": 0.5, "epsilon": 0.5, "sample": 60, "rows": 2, "seed": 5}


@pytest.mark.parametrize("field", CHANGES)
def test_every_setting_changes_something(setting, field):
    model, corpus, sizes = setting
    changed = DynamicConfig(**{**{f: getattr(CONFIG, f) for f in CHANGES}, field: CHANGES[field]})
    usual = evaluate_dynamic(model, corpus.valid, sizes, CONFIG).loss_nats
    sizes = gradient_sizes(model, corpus.train, changed)
    assert evaluate_dynamic(model, corpus.valid, sizes, changed).loss_nats != pytest.approx(usual, **CLOSE)
    assert set(CHANGES) == set(DynamicConfig.__dataclass_fields__)


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, Stop])
def test_the_model_comes_back_bit_for_bit(setting, error):
    model, corpus, sizes = setting
    model.train()
    before, token, moved = bits(model), torch.tensor([3]), []
    with torch.no_grad():
        said = model.step(token, model.zero_state(1))[0]

    def progress(done, total):
        moved.append(not same(model, before))
        if done == 3 and error is not None:
            raise error

    if error is None:
        evaluate_dynamic(model, corpus.valid, sizes, CONFIG, progress=progress)
    else:
        with pytest.raises(error):
            evaluate_dynamic(model, corpus.valid, sizes, CONFIG, progress=progress)
    assert all(moved)
    assert same(model, before)
    assert model.training
    assert not model.embedding._forward_hooks
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with torch.no_grad():
        assert torch.equal(model.step(token, model.zero_state(1))[0], said)
    assert torch.is_grad_enabled()
    model.eval()


def test_weights_beyond_bounds_are_an_error_and_come_back(setting):
    model, corpus, sizes = setting
    before = bits(model)
    with pytest.raises(DivergedError, match="lower the rate"):
        evaluate_dynamic(model, corpus.valid, sizes, DynamicConfig(rate=1e307))
    assert same(model, before)


def test_frozen_parameters_do_not_follow(setting):
    model, corpus, _ = setting
    frozen = model.embedding.weight.requires_grad_(False)
    try:
        sizes = gradient_sizes(model, corpus.train, CONFIG)
        assert len(sizes.MS) == len(list(model.parameters())) - 1
        start, moved = frozen.clone(), []
        evaluate_dynamic(
            model, corpus.valid, sizes, CONFIG, progress=lambda *_: moved.append(not torch.equal(frozen, start))
        )
        assert not any(moved)
    finally:
        frozen.requires_grad_(True)


@pytest.mark.parametrize(
    "bad",
    [
        {"segment": 0}, {"segment": 5000}, {"rate": -1.0}, {"decay": -1.0}, {"epsilon": 0.0}, {"sample": 0},
        {"rows": 0}, {"seed": -1}, {"rate": math.inf}, {"decay": math.nan},
    ],
)  # fmt: skip
def test_settings_that_cannot_be(bad):
    with pytest.raises(ConfigError):
        DynamicConfig(**bad)


def test_sizes_of_another_model_and_short_texts_are_refused(setting):
    model, _, sizes = setting
    with pytest.raises(ConfigError, match="another model"):
        evaluate_dynamic(model, tokens_of(model, FOREIGN), GradientSizes(sizes.MS[1:]), CONFIG)
    for few in ("", "a"):
        with pytest.raises(CorpusError):
            evaluate_dynamic(model, tokens_of(model, few), sizes, CONFIG)
        with pytest.raises(CorpusError):
            gradient_sizes(model, tokens_of(model, few), CONFIG)
