"""What is said about a model follows from its numbers, and says when they are too close to tell."""

import json

import pytest

from recurra.evaluation import Assessment


def assessment(value, other, *, main="accuracy", examples=900, name="majority class 'Russian'", **details):
    return Assessment("classify", {main: value}, {name: {main: other}}, main, examples, 0.5, details)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (assessment(0.812, 0.501), "accuracy 0.812 beats the majority class 'Russian' (0.501)"),
        (assessment(0.4, 0.468), "accuracy 0.400 does not beat the majority class 'Russian' (0.468)"),
        (assessment(0.468, 0.468), "accuracy 0.468 does not beat the majority class 'Russian' (0.468)"),
        (
            assessment(0.478, 0.468),
            "accuracy 0.478 does not clearly beat the majority class 'Russian' (0.468): "
            "so little may be chance with 900 examples",
        ),
        (assessment(0.478, 0.468, trials=100_000), "accuracy 0.478 beats the majority class 'Russian' (0.468)"),
        (
            assessment(23.41, 20.0, main="bleu", name="copying the input"),
            "bleu 23.4 beats copying the input (20.0)",
        ),
        (
            assessment(0.012345, 0.2, main="mse", name="last value"),
            "mse 0.01235 beats the last value (0.2)",
        ),
        (assessment(0.3, 0.2, main="mse", name="last value"), "mse 0.3 does not beat the last value (0.2)"),
        (
            assessment(0.8, 0.7, name="naive Bayes on words"),
            "accuracy 0.800 beats naive Bayes on words (0.700)",
        ),
    ],
)
def test_verdicts_are_plain(made, sentence):
    assert made.verdict == [sentence]


def test_doubt_is_two_binomial_standard_errors():
    assert assessment(0.5, 0.4, examples=100).doubt == pytest.approx(0.1)
    assert assessment(0.5, 0.4, examples=100, trials=10_000).doubt == pytest.approx(0.01)
    assert assessment(0.5, 0.4, main="f1").doubt == 0
    assert assessment(0.0, 0.0, examples=0).doubt == 0


def test_mapping_is_flat_and_json():
    made = assessment(0.9, 0.4, confusion={"labels": ["a"], "counts": [[1]]}, predictions=["a"])
    mapping = json.loads(json.dumps(made.as_mapping()))
    assert mapping["accuracy"] == 0.9
    assert mapping["baselines"] == {"majority class 'Russian'": {"accuracy": 0.4}}
    assert mapping["confusion"] == {"labels": ["a"], "counts": [[1]]}
    assert "predictions" not in mapping
    assert mapping["verdict"] == made.verdict
    assert mapping["examples"] == 900


def test_the_headline_is_about_the_strongest_baseline():
    made = Assessment(
        "classify", {"accuracy": 0.8}, {"a": {"accuracy": 0.9}, "b": {"accuracy": 0.1}}, "accuracy", 900, 0.5
    )
    assert made.headline == "accuracy 0.800 does not beat the a (0.900)"
    errors = Assessment("forecast", {"mse": 0.2}, {"a": {"mse": 0.1}, "b": {"mse": 0.9}}, "mse", 900, 0.5)
    assert errors.headline == "mse 0.2 does not beat the a (0.1)"
    assert Assessment("classify", {"accuracy": 0.8}, {}, "accuracy", 9, 0.5).headline == "accuracy 0.800"
