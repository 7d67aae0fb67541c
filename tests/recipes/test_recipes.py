"""Every recipe is a whole run: it loads, round-trips and trains."""

import pytest
import torch

from recurra.config import as_mapping
from recurra.data import Corpus, DataConfig
from recurra.errors import ConfigError
from recurra.models import LanguageModel
from recurra.recipes import RECIPES, find_recipe
from recurra.training import Reporter, Trainer, config_from_mapping


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_knows_its_name_and_round_trips(name):
    config = find_recipe(name)
    assert config.recipe == name
    assert config_from_mapping(as_mapping(config)) == config


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains(name, tmp_path):
    config = find_recipe(name).with_settings(steps=2, hidden=8, threads=1)
    if config.model.embedding:
        config = config.with_settings(embedding=8)
    text = "one two three four five six\n" * 200
    built_in = config.data.source == "counting"
    corpus = Corpus.counting() if built_in else Corpus.from_text(text, tokenizer=config.data.tokenizer)
    model = LanguageModel(corpus.vocabulary, config.model)
    run = Trainer(model, corpus, out=tmp_path / "run", config=config.training, recipe=name, reporter=Reporter()).fit()
    assert run.metrics[-1]["step"] == 2
    assert run.config.recipe == name


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'counting-7'"):
        find_recipe("counting-77")


def test_the_counting_protocol_has_the_published_numbers():
    corpus = Corpus.build(DataConfig())
    assert len(corpus.train) + len(corpus.valid) == 63_095
    assert len(corpus.vocabulary) == 30
    assert len(corpus.train) == int(0.8 * 63_095)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("counting-1", 0.494), ("counting-3", 0.589), ("counting-4", 0.640), ("counting-5", 0.488),
        ("counting-6", 0.758), ("counting-7", 0.869), ("counting", 0.91),
    ],
)  # fmt: skip
def test_published_accuracy_is_reproduced(name, published, tmp_path):
    accuracies = []
    for seed in range(3):
        config = find_recipe(name).with_settings(seed=seed)
        corpus = Corpus.build(config.data)
        torch.manual_seed(seed)
        model = LanguageModel(corpus.vocabulary, config.model)
        out = tmp_path / str(seed)
        run = Trainer(model, corpus, out=out, config=config.training, reporter=Reporter()).fit()
        accuracies.append(run.metrics[-1]["valid_accuracy"])
    assert sorted(accuracies)[1] >= published - 0.03
