"""Labels of steps and spans of them, counted by hand and as conlleval counts them."""

import pytest
from told_models import FakeTagger, text_input

from recurra.data.examples import Examples
from recurra.errors import DataError
from recurra.evaluation import assess
from recurra.evaluation.spans import are_spans, span_scores, spans


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("O O", []),
        ("B-a I-a O B-b", [("a", 0, 2), ("b", 3, 4)]),
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        ("I-a I-a", [("a", 0, 2)]),
        ("O I-a O", [("a", 1, 2)]),
        ("B-a I-b", [("a", 0, 1), ("b", 1, 2)]),
        ("I-a I-b I-b", [("a", 0, 1), ("b", 1, 3)]),
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
    ],
)
def test_spans_are_those_of_conlleval(labels, expected):
    assert spans(labels.split()) == expected


def test_a_span_is_right_if_all_of_it_is():
    truth = [["B-PER", "I-PER", "O", "B-LOC", "O"], ["B-LOC"]]
    said = [["B-PER", "O", "O", "B-LOC", "B-LOC"], ["B-PER"]]
    # 1 of 4 spans said, of 3 true
    assert span_scores(truth, said) == pytest.approx((1 / 4, 1 / 3, 2 / 7))
    assert span_scores(truth, truth) == (1, 1, 1)
    assert span_scores([["O"]], [["O"]]) == (0, 0, 0)


@pytest.mark.parametrize(("labels", "found"), [("O B-a", True), ("O I-a", False), ("O B-a X", False), ("O B-", False)])
def test_spans_are_recognised(labels, found):
    assert are_spans(labels.split()) == found


def test_words_by_hand():
    train = Examples(["the dog runs", "the run", "a dog"], [["D", "N", "V"], ["D", "N"], ["D", "N"]])
    asked = Examples(["the run", "dog a zebra"], [["D", "V"], ["N", "D", "N"]])
    model = FakeTagger(text_input(train.inputs), list("DNV"), [["D", "N"], ["N", "D", "V"]])
    result = assess(model, asked, train=train)
    assert result.task == "tag"
    assert result.main == "accuracy"
    assert result.metrics["accuracy"] == 3 / 5
    # "D" is the most frequent of training, by name; of N and V: 1 right, 3 said, 3 true
    assert [result.metrics[name] for name in ("f1", "precision", "recall")] == pytest.approx([1 / 3] * 3)
    assert result.baselines["majority label 'D'"]["accuracy"] == 2 / 5
    assert result.baselines["most frequent label of each token"]["accuracy"] == 3 / 5
    assert len(result.baselines) == 2
    assert result.details["trials"] == 5
    assert "span_f1" not in result.metrics


def test_spans_are_what_is_compared():
    train = Examples(["in Rome"], [["O", "B-LOC"]])
    model = FakeTagger(text_input(train.inputs), ["O", "B-LOC"], [["B-LOC", "B-LOC"]])
    result = assess(model, train, train=train)
    assert result.main == "span_f1"
    assert result.metrics["span_f1"] == pytest.approx(2 / 3)
    assert result.verdict[-1] == "span_f1 0.667 does not beat the most frequent label of each token (1.000)"


def test_case_of_characters_by_hand():
    train = Examples(["it is bob's", "bob is it", "it"], ["ULLLLLULLLL", "ULLLLLLUL", "UL"])
    train = Examples(train.inputs, [list(labels) for labels in train.targets])
    asked = Examples(["is bob it. x"], [list("ULLULLLULLLU")])
    model = FakeTagger(text_input(train.inputs, "char"), ["L", "U"], [list("ULLULLLLLLLL")])
    result = assess(model, asked, train=train)
    assert result.main == "f1"
    # upper case is the rarer: 2 right of 2 said, 4 true
    assert result.metrics["f1"] == pytest.approx(2 / 3)
    assert result.metrics["precision"] == 1
    assert result.metrics["recall"] == 1 / 2
    assert result.baselines["majority label 'L'"]["f1"] == 0
    # "is" LL, "bob" ULL, "it" UL twice of three, unseen "x" L: 2 right of 2, 4 true
    assert result.baselines["most frequent labelling of each word"]["f1"] == pytest.approx(2 / 3)


def test_apostrophes_are_in_words():
    train = Examples(["bob's", "s"], [list("ULLLU"), ["L"]])
    model = FakeTagger(text_input(train.inputs, "char"), ["L", "U"], [list("LLLLL"), ["L"]])
    result = assess(model, train, train=train)
    assert result.baselines["most frequent labelling of each word"]["accuracy"] == 1


def test_labels_of_other_steps_are_named():
    train = Examples(["a b"], [["A", "B"]])
    asked = Examples(["a b"], [["A"]], ["file.txt, line 7"])
    with pytest.raises(DataError, match=r"file.txt, line 7 has 2 steps and 1 labels"):
        assess(FakeTagger(text_input(train.inputs), ["A", "B"], [["A", "B"]]), asked, train=train)
