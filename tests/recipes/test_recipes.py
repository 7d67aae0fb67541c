"""Every recipe is a whole run: it loads, round-trips and trains."""

import numpy as np
import pytest
import torch

from recurra.config import as_mapping
from recurra.data import Corpus, DataConfig
from recurra.errors import ConfigError
from recurra.models import LanguageModel
from recurra.recipes import RECIPES, find_recipe
from recurra.training import TASKS, Reporter, Trainer, config_from_mapping


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_knows_its_name_and_round_trips(name):
    config = find_recipe(name)
    assert config.recipe == name
    assert config_from_mapping(as_mapping(config)) == config


def sounds(folder):
    import soundfile

    (folder / "digits").mkdir()
    for n in range(12):
        tone = np.sin(np.arange(1600) * (n % 2 + 1) / 5).astype(np.float32)
        soundfile.write(folder / "digits" / f"{n % 2}_anna_{n}.wav", tone, 8000)
    return folder / "digits"


def pictures(folder):
    from PIL import Image

    lines = []
    for n in range(12):
        Image.fromarray(np.full((28, 28), 20 * n, np.uint8)).save(folder / f"{n}.png")
        lines.append(f"{n}.png\t{'dark' if n < 6 else 'bright'}")
    return written(folder, "pictures.tsv", lines)


def series(folder, targets, named):
    header = ["time", *(["series"] if named else []), *targets]
    rows = [",".join(header)]
    for step in range(400):
        values = [f"{10 + (step * (k + 3)) % 7}" for k in range(len(targets))]
        rows.append(",".join([str(step), *(["a"] if named else []), *values]))
    return written(folder, "series.csv", rows)


def written(folder, name, lines):
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder / name


def source_for(config, folder):
    """Write a little of what a recipe learns from."""
    if config.task == "lm" and config.data.condition is not None:
        return written(folder, "labels.tsv", [f"word{n} and more\t{'ab'[n % 2]}" for n in range(60)])
    if config.task == "lm":
        return (
            "counting"
            if config.data.source == "counting"
            else written(folder, "text.txt", ["one two three four"] * 300)
        )
    if config.task == "classify":
        if config.recipe == "digits":
            return sounds(folder)
        return written(folder, "labels.tsv", [f"word{n} and more\t{'ab'[n % 2]}" for n in range(30)])
    if config.task == "tag":
        return written(folder, "tags.jsonl", [f'{{"tokens": "ab{n:02}", "labels": "U---"}}' for n in range(30)])
    if config.task == "translate":
        return written(folder, "pairs.tsv", [f"{n} plus {n}\t{2 * n} it is" for n in range(120)])
    if config.task == "caption":
        return pictures(folder)
    return series(folder, config.data.target.split(","), config.data.series is not None)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains(name, tmp_path):
    config = find_recipe(name)
    smaller = {"source": str(source_for(config, tmp_path)), "steps": 2, "hidden": 8, "threads": 1}
    if getattr(config.model, "embedding", None):
        smaller["embedding"] = 8
    if config.task == "forecast":
        smaller |= {"rows": 400, "valid": 60, "test": 60}
    config = config.with_settings(**smaller)
    task = TASKS[config.task]
    data = task.make_data(config)
    torch.manual_seed(0)
    model = task.make_model(config, data)
    run = Trainer(model, data, out=tmp_path / "run", config=config.training, recipe=name, reporter=Reporter()).fit()
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
