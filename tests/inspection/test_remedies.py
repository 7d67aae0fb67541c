"""Which remedies a run has switched on is read from its settings."""

import pytest

from recurra.data import Corpus
from recurra.inspection.remedies import remedies_of
from recurra.models import LanguageModel, ModelConfig
from recurra.training import RunConfig

CORPUS = Corpus.from_text("some text to have a vocabulary\n" * 20, tokenizer="char", name="text")


def remedies(gated=True, **settings):
    config = RunConfig().with_settings(**({"hidden": 8, "clip": 0.0, "optimizer": "sgd"} | settings))
    model = LanguageModel(CORPUS.vocabulary, ModelConfig(**vars(config.model)))
    return {remedy.name: remedy for remedy in remedies_of(config, model, gated=gated)}


ALWAYS = {"Gates and forget bias", "Truncated back-propagation"}


@pytest.mark.parametrize(
    ("settings", "on"),
    [
        ({}, set()),
        ({"clip": 2.0}, {"Clipping by norm"}),
        ({"clip_value": 0.5}, {"Clipping by value"}),
        ({"init": "xavier"}, {"Xavier initialisation"}),
        ({"recurrent_init": "orthogonal"}, {"Orthogonal initialisation"}),
        ({"recurrent_init": "identity"}, {"Identity initialisation"}),
        ({"cell": "irnn"}, {"ReLU with identity (IRNN)", "Identity initialisation"}),
        ({"cell": "lstm-layernorm"}, {"Layer normalisation"}),
        ({"residual": True}, {"Residual connections"}),
        ({"optimizer": "rmsprop"}, {"Adaptive optimizer"}),
    ],
    ids=lambda value: "+".join(sorted(map(str, value))) or "defaults",
)
def test_one_setting_switches_one_on(settings, on):
    found = remedies(**settings)
    assert {name for name, remedy in found.items() if remedy.on} == ALWAYS | on


def test_all_are_named_and_say_what_they_do():
    found = remedies()
    assert len(found) == 11
    for remedy in found.values():
        assert remedy.what.endswith(".")
        assert remedy.when.endswith(".")


def test_the_forget_bias_is_that_of_the_cell():
    assert "forget bias 1 at the start" in remedies(cell="lstm")["Gates and forget bias"].setting
    assert "bias" not in remedies(cell="gru")["Gates and forget bias"].setting


@pytest.mark.parametrize(
    ("backprop", "cut"),
    [("64", True), ("truncated:8,32", True), ("random:50", True), ("full", False), ("online", False)],
)
def test_which_policies_truncate(backprop, cut):
    assert remedies(backprop=backprop)["Truncated back-propagation"].on is cut


def test_what_was_not_looked_at_is_unknown():
    assert remedies(gated=None)["Gates and forget bias"].on is None
