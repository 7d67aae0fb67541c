"""The unrolled network shows what the model does on a few real tokens."""

import dataclasses
import json

import pytest
import torch

from recurra.data import Corpus
from recurra.errors import ConfigError, CorpusError
from recurra.inspection.unrolled import measure_unrolled
from recurra.models import LanguageModel
from recurra.testing.tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64]
TEXT = "when in rome do as the romans do " * 12


@pytest.fixture(scope="module")
def setting():
    corpus = Corpus.from_text(TEXT, tokenizer="char")
    torch.manual_seed(0)
    model = LanguageModel(corpus.vocabulary, cell="gru", hidden=9, layers=2, dropout=0.3).double()
    return model, torch.from_numpy(corpus.train.ids.astype("int64"))


def test_probabilities_and_gradients_are_those_of_single_steps(setting):
    model, tokens = setting
    found = measure_unrolled(model, tokens, 64)
    text = model.vocabulary.decode(tokens.tolist())
    start = text.index("".join(found.tokens).replace("␣", " "), len(text) // 2 - 4)
    model.eval()
    state, probabilities, states = model.zero_state(1), [], []
    for t in range(max(0, start - 256), start + 8):
        if t == start:
            state = tuple(type(s)(s.h.detach().requires_grad_()) for s in state)
        logits, state = model.step(tokens[t : t + 1], state)
        if t >= start:
            probabilities.append(float(logits.detach().softmax(-1)[0, tokens[t + 1]]))
            states.append([layer.h for layer in state])
    loss = -logits.log_softmax(-1)[0, tokens[start + 8]]
    flat = torch.autograd.grad(loss, [h for step in states for h in step], allow_unused=True)
    norms = torch.stack([g.norm() for g in flat]).reshape(8, 2).T
    model.train()
    assert found.probabilities == pytest.approx(probabilities, **_about())
    torch.testing.assert_close(torch.tensor(found.gradients, dtype=torch.float64), norms / norms.max(), **EXACT)
    assert "".join(found.targets[:-1]) == "".join(found.tokens[1:])
    assert found.layers == ["GRU, 9 units"] * 2
    assert found.window == 64
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_the_picture_begins_with_a_word(setting):
    model, tokens = setting
    found = measure_unrolled(model, tokens, None)
    text = model.vocabulary.decode(tokens.tolist())
    assert f" {''.join(found.tokens).replace('␣', ' ')}" in text
    assert found.tokens[0] != "␣"
    assert found.window is None


def test_a_short_text_has_fewer_steps(setting):
    model, tokens = setting
    assert len(measure_unrolled(model, tokens[:4], 2).tokens) == 3
    with pytest.raises(CorpusError, match="at least 2"):
        measure_unrolled(model, tokens[:1], 2)
    with pytest.raises(ConfigError, match="'steps' must be at least 1"):
        measure_unrolled(model, tokens, 2, steps=0)


def test_nothing_of_the_model_is_changed(setting):
    model, tokens = setting
    random = torch.get_rng_state()
    measure_unrolled(model, tokens, 8)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def _about():
    return {"rel": EXACT["rtol"], "abs": EXACT["atol"]}
