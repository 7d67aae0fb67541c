"""A model whose vocabulary grew knows what it knew, bit for bit."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data import build_tokenizer
from recurra.errors import ConfigError, VocabularyError
from recurra.models import LanguageModel
from recurra.testing.tolerances import TOLERANCES

OLD = "the cat sat on the mat, the dog sat\n"


def model_of(*, unknown=True, **changes):
    torch.manual_seed(0)
    tokenizer = build_tokenizer("char", OLD, unknown=unknown)
    return LanguageModel(tokenizer, **{"hidden": 6, "layers": 2, **changes}).eval()


SHAPES = {
    "plain": {},
    "tied": {"tie": True, "embedding": 5},
    "no unknown": {"unknown": False},
    "gru": {"cell": "gru", "zoneout": 0.2},
}


@pytest.mark.parametrize("shape", SHAPES)
@given(tokens=st.lists(st.integers(0, 11), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_among_old_tokens_the_distribution_is_what_it_was(shape, tokens):
    model = model_of(**SHAPES[shape]).double()
    grown = model.grown(model.vocabulary.grown("XYZ!"))
    ids = torch.tensor(tokens).unsqueeze(1)
    with torch.no_grad():
        (before, _), (after, _) = model(ids), grown(ids)
    old = len(model.vocabulary)
    assert after.shape[-1] == old + 4
    tolerance = TOLERANCES[torch.float64]
    torch.testing.assert_close(after[..., :old].softmax(-1), before.softmax(-1), **tolerance)


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_of_known_tokens_are_the_same_bits(shape):
    model = model_of(**SHAPES[shape])
    grown = model.grown(model.vocabulary.grown("XYZ!", end=True))
    theirs = model.state_dict()
    assert grown.state_dict().keys() == theirs.keys()
    for name, tensor in grown.state_dict().items():
        assert torch.equal(tensor[: len(theirs[name])], theirs[name]), name
        assert len(tensor) == len(theirs[name]) + 5 * (name in ("embedding.weight", "projection", "bias"))


def test_new_tokens_share_the_probability_of_the_unknown_one():
    model = model_of()
    grown = model.grown(model.vocabulary.grown("XYZ!"))
    with torch.no_grad():
        logits, _ = grown(torch.tensor([[1], [2]]))
    old = len(model.vocabulary)
    torch.testing.assert_close(
        logits[..., old:].logsumexp(-1), logits[..., model.vocabulary.unknown], **TOLERANCES[torch.float32]
    )
    assert torch.equal(grown.embedding.weight[old:], model.embedding.weight[[model.vocabulary.unknown] * 4])


def test_without_an_unknown_token_they_start_at_the_mean():
    model = model_of(unknown=False)
    grown = model.grown(model.vocabulary.grown("XY"))
    mean = model.embedding.weight.mean(0)
    assert torch.equal(grown.embedding.weight[-2:], torch.stack([mean, mean]))
    assert torch.equal(grown.bias[-2:], model.bias.mean().expand(2))


def test_a_copy_has_weights_of_its_own_type_and_mode_and_draws_nothing():
    model = model_of().double()
    model.bias.requires_grad_(False)
    before = torch.get_rng_state()
    grown = model.grown(model.vocabulary, dropout=0.5, weight_drop=0.1)
    assert torch.equal(torch.get_rng_state(), before)
    assert (grown.config.dropout, grown.config.weight_drop, model.config.dropout) == (0.5, 0.1, 0.0)
    assert grown.bias.dtype == torch.float64
    assert not grown.training
    assert [p.requires_grad for p in grown.parameters()] == [p.requires_grad for p in model.parameters()]
    with torch.no_grad():
        grown.embedding.weight.zero_()
    assert model.embedding.weight.any()
    assert math.isfinite(grown.loss(torch.tensor([[1]]), torch.tensor([[2]]))[0].item())


def test_what_did_not_grow_from_it_or_has_another_shape_is_refused():
    model = model_of()
    with pytest.raises(VocabularyError, match="did not grow from"):
        model.grown(build_tokenizer("char", "another text"))
    with pytest.raises(VocabularyError, match="did not grow from"):
        model.grown(build_tokenizer("word", OLD))
    with pytest.raises(ConfigError, match="'hidden' is 6 in the trained model and cannot become 7"):
        model.grown(model.vocabulary, hidden=7)
    with pytest.raises(ConfigError, match="did you mean 'dropout'"):
        model.grown(model.vocabulary, droput=0.5)


@pytest.mark.parametrize("tie", [False, True])
def test_layers_from_the_top(tie):
    model = model_of(tie=tie)
    names = {id(p): name for name, p in model.named_parameters()}
    layers = [{names[id(p)].rpartition(".")[0] or names[id(p)] for p in layer} for layer in model.layers_from_top()]
    cells = [{"stack.cells.1"}, {"stack.cells.0"}]
    expected = [{"bias", "embedding"}, *cells] if tie else [{"bias", "projection"}, *cells, {"embedding"}]
    assert layers == expected
    assert sorted(names) == sorted(id(p) for layer in model.layers_from_top() for p in layer)
