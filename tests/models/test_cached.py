"""The laws of a neural cache: a window is the fold of steps, however it is cut; rows and texts do not meet."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra import state as states
from recurra.data import Corpus, build_tokenizer
from recurra.errors import ConfigError
from recurra.evaluation import evaluate, surprisals
from recurra.models import CacheConfig, CachedLanguageModel, LanguageModel, cached, generate_texts
from recurra.testing.tolerances import TOLERANCES

ALPHABET = "abcdefghij\n"
V = len(ALPHABET)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = LanguageModel(build_tokenizer("char", [ALPHABET]), cell="gru", hidden=4).double().eval()
    torch.nn.init.normal_(model.projection)
    return model


def close(a, b):
    torch.testing.assert_close(a, b, **TOLERANCES[torch.float64])


def all_logits(model, tokens, state=None, reset=None):
    reading, state = model.read(tokens, state, reset=reset)
    return reading.logits(torch.arange(tokens.numel())).view(*tokens.shape, -1), state


sizes = st.integers(1, 9)
few = settings(max_examples=30, deadline=None)


@few
@given(seed=st.integers(0, 99), size=sizes, length=st.integers(1, 14), rows=st.integers(1, 3))
def test_a_window_is_the_fold_of_steps(model, seed, size, length, rows):
    torch.manual_seed(seed)
    behind, tokens = CachedLanguageModel(model, size=size, theta=2.0, weight=0.4), torch.randint(V, (length, rows))
    logits, after = all_logits(behind, tokens)
    state = behind.zero_state(rows)
    for t, token in enumerate(tokens):
        at_t, state = behind.step(token, state)
        close(at_t, logits[t])
    for leaf, other in zip(states.named_leaves(after).values(), states.named_leaves(state).values(), strict=True):
        close(leaf, other)


@few
@given(data=st.data(), seed=st.integers(0, 99), size=sizes, length=st.integers(2, 14))
def test_cuts_and_resets_anywhere(model, data, seed, size, length):
    torch.manual_seed(seed)
    behind, tokens = CachedLanguageModel(model, size=size, weight=0.4), torch.randint(V, (length, 3))
    reset = torch.rand(length, 3) < 0.2
    whole, after = all_logits(behind, tokens, reset=reset)
    cut = data.draw(st.integers(1, length - 1))
    first, state = all_logits(behind, tokens[:cut], reset=reset[:cut])
    second, state = all_logits(behind, tokens[cut:], state, reset=reset[cut:])
    close(torch.cat([first, second]), whole)
    # the state of a row that was reset may hold what is never looked at again, so both are asked to go on
    more = torch.randint(V, (3, 3))
    close(all_logits(behind, more, after)[0], all_logits(behind, more, state)[0])
    for row in range(3):
        begins = [0, *[t for t in range(1, length) if reset[t, row]], length]
        alone = [all_logits(behind, tokens[a:b, row : row + 1])[0] for a, b in pairwise(begins)]
        close(torch.cat(alone)[:, 0], whole[:, row])


@few
@given(seed=st.integers(0, 99), size=sizes)
def test_few_weights_at_once_and_any_steps_change_nothing(model, seed, size):
    torch.manual_seed(seed)
    behind, tokens = CachedLanguageModel(model, size=size, weight=0.4), torch.randint(V, (12, 3))
    reading, _ = behind.read(tokens)
    steps = torch.randperm(36)[: seed % 36]
    expected = reading.logits(torch.arange(36))[steps]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cached, "WEIGHTS_AT_ONCE", 150)
        patch.setattr(cached, "SHORTEST_PIECE", 2)
        close(reading.logits(steps), expected)


def test_probabilities_sum_to_one_in_float32(model):
    torch.manual_seed(0)
    single = LanguageModel(model.vocabulary, hidden=4)
    torch.nn.init.normal_(single.projection, std=40)  # so sure of itself that what it does not expect underflows
    tokens = torch.randint(V, (40, 2))
    logits, _ = all_logits(CachedLanguageModel(single, size=5, theta=50.0, weight=0.3), tokens)
    assert logits.dtype == torch.float32
    norm = all_logits(single, tokens)[0].logsumexp(-1, keepdim=True)
    torch.testing.assert_close((logits - norm).exp().sum(-1), torch.ones(40, 2), **TOLERANCES[torch.float32])
    assert logits.isfinite().all()


def test_before_anything_was_read_the_model_is_alone(model):
    behind, tokens = CachedLanguageModel(model, size=5, weight=0.4), torch.randint(V, (4, 2))
    reset = torch.tensor([[False, False], [False, True], [False, False], [False, False]])
    logits, _ = all_logits(behind, tokens, reset=reset)
    plain, _ = model(tokens, reset=reset)
    for t, b in ((0, 0), (0, 1), (1, 1)):
        close(logits[t, b], plain[t, b])
    assert not torch.allclose(logits[1, 0], plain[1, 0])


def test_no_weight_is_the_model(model):
    tokens = torch.randint(V, (9, 2))
    close(all_logits(CachedLanguageModel(model, weight=0.0), tokens)[0], model(tokens)[0])


@pytest.mark.parametrize(("field", "value"), [("size", 3), ("theta", 5.0), ("weight", 0.7)])
def test_every_setting_changes_something(model, field, value):
    tokens = torch.randint(V, (9, 2))
    usual, _ = all_logits(CachedLanguageModel(model), tokens)
    assert not torch.allclose(all_logits(CachedLanguageModel(model, **{field: value}), tokens)[0], usual)
    assert {"size", "theta", "weight"} == set(CacheConfig.__dataclass_fields__)


def test_scores_stay_on_the_scale_of_the_model(model):
    """So that what is added to or multiplied with a score means the same behind a cache."""
    tokens = torch.randint(0, V, (9, 2), generator=torch.Generator().manual_seed(1))
    plain, _ = all_logits(model, tokens)
    behind, _ = all_logits(CachedLanguageModel(model, size=5, weight=0.2), tokens)
    close(plain.logsumexp(-1), behind.logsumexp(-1))
    assert not torch.allclose(plain, behind)


def test_the_state_is_a_value(model, tmp_path):
    behind, tokens = CachedLanguageModel(model, size=4, weight=0.4), torch.randint(V, (6, 3))
    _, state = behind.read(tokens)
    before = states.digest(state)
    picked = states.select(state, torch.tensor([2, 0]))
    more = torch.randint(V, (3, 3))
    expected, _ = all_logits(behind, more, state)
    close(all_logits(behind, more[:, [2, 0]], picked)[0], expected[:, [2, 0]])
    states.save(state, tmp_path / "state.safetensors")
    loaded = states.load(tmp_path / "state.safetensors", behind.zero_state(1))
    assert states.digest(loaded) == before == states.digest(state)
    fresh = states.reset(state, torch.tensor([True, False, True]), behind.zero_state(3))
    close(all_logits(behind, more, fresh)[0][:, 0], all_logits(behind, more)[0][:, 0])
    close(all_logits(behind, more, fresh)[0][:, 1], expected[:, 1])


def test_memory_does_not_grow_with_the_window(model, largest_tensor):
    behind = CachedLanguageModel(model, size=50)
    reading, _ = behind.read(torch.randint(V, (3000, 1)))
    with largest_tensor() as largest, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cached, "WEIGHTS_AT_ONCE", 10_000)
        reading.logits(torch.arange(3000))
    assert largest.numel <= 3000 * V


def test_evaluation_scoring_and_writing_see_the_cache(model):
    corpus = Corpus.from_text("abcdefgh jabcdefgh jiff " * 20, tokenizer="char", valid=0.5)
    torch.manual_seed(0)
    plain = LanguageModel(corpus.vocabulary, hidden=6).double()
    behind = CachedLanguageModel(plain, size=30, theta=20.0, weight=0.5)
    score = evaluate(behind, corpus.valid)
    assert score.loss_nats < evaluate(plain, corpus.valid).loss_nats
    assert surprisals(behind, corpus.valid.ids, window=17).bits[1:].mean() == pytest.approx(score.bits_per_token)
    assert evaluate(behind, corpus.valid, batch=3, warmup=len(corpus.valid)).loss_nats == pytest.approx(score.loss_nats)
    assert plain.training
    texts = generate_texts(behind, "abcdefgh jabcde", samples=2, tokens=12, seed=1)
    assert texts[0] == behind.generate("abcdefgh jabcde", tokens=12, seed=1)
    assert texts != generate_texts(plain, "abcdefgh jabcde", samples=2, tokens=12, seed=1)


@pytest.mark.parametrize(
    "bad",
    [
        {"size": 0},
        {"size": 10**9},
        {"theta": -1.0},
        {"theta": math.inf},
        {"theta": math.nan},
        {"weight": 1.0},
        {"weight": -0.1},
        {"sise": 3},
    ],
)
def test_wrong_settings_are_refused(model, bad):
    with pytest.raises(ConfigError):
        CachedLanguageModel(model, **bad)
