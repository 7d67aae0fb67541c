"""A model's native step: what the ordinary one gives, for every option, and nothing stale."""

import copy
import pickle

import pytest
import torch

from recurra.data import build_tokenizer
from recurra.models import LanguageModel
from recurra.state import named_leaves
from recurra.testing.tolerances import TOLERANCES


def language_model(**settings):
    torch.manual_seed(0)
    tokenizer = build_tokenizer("char", ["abcdefghij\n"])
    return LanguageModel(tokenizer, **{"hidden": 9, "embedding": 7, **settings}).eval()


def ordinary(model, token, state):
    output, state = model.stack.step(model.embedding(token), state)
    return model.project(output), state


def check(model, rows=1):
    state = model.zero_state(rows)
    with torch.no_grad():
        for _ in range(4):
            token = torch.randint(11, (rows,))
            found = model.step(token, state)
            wanted = ordinary(model, token, state)
            for leaf, other in zip(named_leaves(found).values(), named_leaves(wanted).values(), strict=True):
                torch.testing.assert_close(leaf, other, **TOLERANCES[torch.float32])
            state = found[1]
        taken = model._stepper(token, state)
        assert taken is not None, model._stepper._step.reason


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize(
    "settings",
    [{}, {"layers": 2, "residual": True}, {"tie": True, "layers": 2}, {"cell": "gru", "zoneout": 0.2}],
    ids=str,
)
def test_a_step_equals_the_ordinary_one(settings, rows):
    check(language_model(**settings), rows)


def test_changed_weights_are_noticed():
    model = language_model(tie=True)
    check(model)
    for parameter in model.parameters():
        parameter.data.mul_(1.5)
        check(model)
    model.load_state_dict({name: value + 0.1 for name, value in model.state_dict().items()})
    check(model)


def test_copies_step_on_their_own():
    model = language_model()
    check(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.bias.data.add_(1.0)
        check(other)
    check(model)


def test_generation_is_that_of_the_ordinary_step(monkeypatch):
    model = language_model(layers=2)
    found = model.generate("abc", tokens=60, seed=3)
    monkeypatch.setattr("recurra.models.stepping.ModelStepper.__call__", lambda *_: None)
    assert model.generate("abc", tokens=60, seed=3) == found


def test_hooks_of_the_embedding_run():
    model = language_model()
    check(model)
    model.embedding.register_forward_hook(lambda module, args, output: output * 2)
    check(model)


def test_a_token_that_is_none_is_refused():
    model = language_model()
    with torch.no_grad():
        for number in (-1, 11):
            with pytest.raises(IndexError):
                model.step(torch.tensor([number]), model.zero_state(1))


def test_attention_takes_the_ordinary_steps_and_says_nothing(capfd):
    model = language_model(attention_window=3)
    state = model.zero_state(2)
    with torch.no_grad():
        for token in torch.randint(11, (5, 2)):
            wanted = ordinary(model, token, state)
            found = model.step(token, state)
            for leaf, other in zip(named_leaves(found).values(), named_leaves(wanted).values(), strict=True):
                assert torch.equal(leaf, other)
            state = found[1]
        assert model._stepper(token, state) is None
    assert capfd.readouterr() == ("", "")
