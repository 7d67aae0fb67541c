import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.cells import CELLS
from recurra.data import build_tokenizer
from recurra.errors import ConfigError, VocabularyError
from recurra.models import LanguageModel, generate_text, generate_texts
from recurra.state import detach, named_leaves
from recurra.testing.tolerances import TOLERANCES

ALPHABET = "abcdefghij\n"
EMBEDDING, HIDDEN = 3, 5


def language_model(**settings):
    torch.manual_seed(0)
    tokenizer = build_tokenizer("char", [ALPHABET])
    return LanguageModel(tokenizer, **{"hidden": HIDDEN, "embedding": EMBEDDING, **settings}).double().eval()


def close(a, b):
    torch.testing.assert_close(a, b, **TOLERANCES[torch.float64])


EXTRAS = {
    "plain": {},
    "residual": {"layers": 2, "residual": True},
    "tied": {"tie": True},
    "zoneout": {"layers": 2, "zoneout": 0.2},
    "attention": {"layers": 2, "attention_window": 4},
}


def cases():
    """Every cell as it is; the rest, of which each cell has programs of its own, with a few cells."""
    for extra in EXTRAS:
        for cell in CELLS:
            usual = extra == "plain" or cell in ("lstm", "mingru", "slstm")
            yield pytest.param(cell, extra, marks=[] if usual else pytest.mark.slow)


@pytest.mark.parametrize(("cell", "extra"), [*cases()])
def test_reading_step_by_step_equals_reading_at_once(cell, extra):
    model = language_model(cell=cell, **EXTRAS[extra])
    tokens = torch.randint(11, (6, 3))
    with torch.no_grad():
        logits, state = model(tokens)
    stepped = model.zero_state(3)
    for t, token in enumerate(tokens):
        at_t, stepped = model.step(token, stepped)
        close(at_t, logits[t])
    for leaf, other in zip(named_leaves(state).values(), named_leaves(stepped).values(), strict=True):
        close(leaf, other)


@given(cut=st.integers(1, 11))
@settings(max_examples=11, deadline=None)
def test_cutting_a_text_in_two_changes_nothing(cut):
    model = language_model(layers=2)
    tokens = torch.randint(11, (12, 2))
    whole, _ = model(tokens)
    first, state = model(tokens[:cut])
    second, _ = model(tokens[cut:], state)
    close(torch.cat([first, second]), whole)


def test_a_reset_starts_afresh():
    model = language_model()
    tokens = torch.randint(11, (8, 2))
    reset = torch.zeros(8, 2, dtype=torch.bool)
    reset[5, 1] = True
    logits, _ = model(tokens, reset=reset)
    close(logits[:, 0], model(tokens)[0][:, 0])
    close(logits[5:, 1], model(tokens[5:])[0][:, 1])


def test_loss_is_the_mean_over_predicted_tokens():
    model = language_model()
    tokens, targets = torch.randint(11, (5, 3)), torch.randint(11, (5, 3))
    targets[2, 1] = -1
    loss, _ = model.loss(tokens, targets)
    log_p = model(tokens)[0].log_softmax(-1)
    terms = [-log_p[t, b, targets[t, b]] for t in range(5) for b in range(3) if targets[t, b] >= 0]
    close(loss, sum(terms) / 14)


def test_a_window_without_targets_costs_nothing():
    model = language_model()
    loss, _ = model.loss(torch.randint(11, (5, 3)), torch.full((5, 3), -1))
    loss.backward()
    assert loss.item() == 0
    assert not model.bias.grad.any()


def test_a_users_own_projection_makes_the_loss():
    class Sharper(LanguageModel):
        def project(self, features):
            return 2 * super().project(features)

    torch.manual_seed(0)
    model = Sharper(build_tokenizer("char", [ALPHABET]), hidden=9).double()
    tokens, targets = torch.randint(11, (5, 3)), torch.randint(11, (5, 3))
    expected = torch.nn.functional.cross_entropy(model(tokens)[0].flatten(0, 1), targets.flatten())
    close(model.loss(tokens, targets)[0], expected)


def test_training_a_large_vocabulary_makes_no_logits_of_all_tokens(largest_tensor):
    words = [f"word{number}" for number in range(3000)]
    model = LanguageModel(build_tokenizer("word", words), cell="gru", hidden=8)
    tokens, classes = torch.randint(3000, (64, 8)), len(model.vocabulary)
    with largest_tensor() as largest:
        model.loss(tokens[:-1], tokens[1:])[0].backward()
    assert classes <= largest.numel < 63 * 8 * classes


def test_an_untrained_model_is_nearly_uniform():
    model = language_model(tie=True)
    loss, _ = model.loss(torch.randint(11, (50, 4)), torch.randint(11, (50, 4)))
    assert abs(loss.item() - math.log(11)) < 0.2


def test_gradients_reach_the_carried_state_unless_detached():
    model = language_model()
    state = model.zero_state(2)
    leaf = state[0].h.requires_grad_()
    model.loss(torch.randint(11, (3, 2)), torch.randint(11, (3, 2)), state)[0].backward()
    assert leaf.grad.abs().sum() > 0
    leaf.grad = None
    model.loss(torch.randint(11, (3, 2)), torch.randint(11, (3, 2)), detach(state))[0].backward()
    assert leaf.grad is None


def test_tied_weights_are_one_parameter():
    tied, free = language_model(tie=True), language_model(tie=False)
    assert tied.projection is None
    assert "projection" not in tied.state_dict()
    assert free.projection.shape == (11, HIDDEN)


def test_dropout_is_for_training_only():
    model = language_model(dropout=0.5, embedding_dropout=0.3)
    tokens = torch.randint(11, (4, 2))
    close(model(tokens)[0], model(tokens)[0])
    model.train()
    assert not torch.equal(model(tokens)[0], model(tokens)[0])


def test_wrong_settings_are_refused():
    for bad in ({"hidden": 0}, {"layers": -1}, {"dropout": 1.0}, {"cell": "lstn"}, {"init": "xavierr"}):
        with pytest.raises(ConfigError):
            language_model(**bad)


def test_generation_is_seeded_and_streams():
    model = language_model()
    pieces = list(generate_text(model, "abc", tokens=12, seed=3))
    assert len(pieces) == 12
    assert "".join(pieces) == model.generate("abc", tokens=12, seed=3)
    assert model.generate("abc", tokens=12, seed=4) != "".join(pieces)
    assert generate_texts(model, "abc", samples=3, tokens=12, seed=3)[0] == "".join(pieces)


def test_generation_leaves_the_model_as_it_was():
    model = language_model(dropout=0.5).train()
    model.generate("abc", tokens=3)
    assert model.training


def test_greedy_generation_is_the_argmax():
    model = language_model()
    made = model.generate("ab", tokens=5, greedy=True)
    text = "ab"
    for _ in range(5):
        logits, _ = model(torch.tensor(model.vocabulary.encode(text).tolist()).unsqueeze(1))
        text += model.vocabulary.decode([int(logits[-1, 0].argmax())])
    assert text == "ab" + made


def test_a_prompt_of_unseen_characters_is_named():
    with pytest.raises(VocabularyError, match="'é'"):
        language_model().generate("né")
