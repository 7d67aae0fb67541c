"""Classifiers are measured beside the majority and naive Bayes, and told when they lose."""

import math

import pytest
from told_models import FakeClassifier, text_input

from recurra.data.examples import Examples, NumbersInput
from recurra.errors import DataError
from recurra.evaluation import assess
from recurra.evaluation.classification import naive_bayes
from recurra.evaluation.sampling import sample

TRAIN = Examples(
    ["good fine", "good nice", "good very nice", "bad", "bad awful"], ["plus", "plus", "plus", "minus", "minus"]
)
ASKED = Examples(["nice good", "awful", "bad bad", "fine"], ["plus", "minus", "minus", "plus"])


def make(said, **settings):
    return FakeClassifier(text_input(TRAIN.inputs, **settings), ["minus", "plus"], said)


def test_numbers_by_hand():
    told = []
    result = assess(make(["plus", "minus", "plus", "plus"]), ASKED, train=TRAIN, progress=lambda *k: told.append(k))
    assert result.task == "classify"
    assert result.main == "accuracy"
    assert result.examples == 4
    assert told == [(4, 4)]
    assert result.metrics["accuracy"] == 3 / 4
    assert result.metrics["loss_nats"] == pytest.approx(math.log(2))
    assert result.details["confusion"] == {"labels": ["minus", "plus"], "counts": [[1, 1], [0, 2]]}
    assert result.baselines["majority class 'plus'"]["accuracy"] == 1 / 2
    assert result.baselines["naive Bayes on words"] == {"accuracy": 1.0, "macro_f1": 1.0}
    assert result.verdict[1] == "accuracy 0.750 does not beat naive Bayes on words (1.000)"


def test_a_label_that_training_did_not_have_is_wrong():
    asked = Examples(["good", "odd"], ["plus", "mixed"])
    result = assess(make(["plus", "plus"]), asked, train=TRAIN)
    assert result.metrics["accuracy"] == 1 / 2
    assert result.metrics["loss_nats"] == pytest.approx(math.log(2))
    assert result.details["confusion"]["labels"] == ["minus", "plus", "mixed"]


def test_numbers_have_the_majority_alone():
    train, asked = Examples([[1.0], [2.0]], ["a", "a"]), Examples([[1.0]], ["a"])
    result = assess(FakeClassifier(NumbersInput(), ["a", "b"], ["a"]), asked, train=train)
    assert list(result.baselines) == ["majority class 'a'"]


def test_naive_bayes_counts_characters_where_a_model_reads_those():
    train = Examples(["aaa", "aab", "zzz", "zzy"], ["a", "a", "z", "z"])
    name, labels = naive_bayes(text_input(train.inputs, "char"), train, ["ab", "yz"])
    assert name == "naive Bayes on 1-3 characters"
    assert labels == ["a", "z"]


def test_naive_bayes_says_when_it_counts_a_part(monkeypatch):
    monkeypatch.setattr("recurra.evaluation.classification.MOST_OF_WORDS", 30)
    name, _ = naive_bayes(text_input(TRAIN.inputs), TRAIN, ["good"])
    assert name == "naive Bayes on words of 3 training texts"


def test_lists_of_words_are_texts():
    train = Examples([["good", "one"], ["bad", "one"]], ["plus", "minus"])
    _, labels = naive_bayes(text_input(["good bad one"]), train, [["good"], ["bad"]])
    assert labels == ["plus", "minus"]


def test_a_sample_is_always_the_same():
    many = Examples(list(range(100)), list(range(100)))
    few = sample(many, 10)
    assert list(few.inputs) == list(few.targets) == sorted(few.inputs) == list(sample(many, 10).inputs)
    assert len(few) == 10
    assert sample(many, 100) is many


@pytest.mark.parametrize("examples", [Examples([], []), Examples(["good"])])
def test_nothing_to_compare_with_is_an_error(examples):
    with pytest.raises(DataError, match="give"):
        assess(make([]), examples, train=TRAIN)
