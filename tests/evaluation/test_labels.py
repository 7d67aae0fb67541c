"""Scores of labels are those counted by hand."""

import pytest
from sklearn.metrics import f1_score

from recurra.evaluation.labels import all_labels, majority, score_labels

TRUTH = list("aaabbbcc")
SAID = list("aabbbcca")


def test_counts_and_scores_by_hand():
    scores = score_labels(TRUTH, SAID, ["a", "b", "c", "never"])
    assert scores.accuracy == 5 / 8
    assert scores.counts == [[2, 1, 0, 0], [0, 2, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert scores.classes["a"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3})
    assert scores.classes["c"] == pytest.approx({"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2})
    assert "never" not in scores.classes
    assert scores.metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)
    assert scores.metrics["macro_f1"] == pytest.approx(f1_score(TRUTH, SAID, average="macro"))


def test_a_label_that_is_never_said_has_a_precision_of_nothing():
    scores = score_labels(["a", "b"], ["a", "a"], ["a", "b"])
    assert scores.classes["b"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert scores.macro_f1 == pytest.approx((2 / 3 + 0) / 2)


def test_majority_does_not_depend_on_order():
    assert majority("abba") == majority("baab") == "a"
    assert majority("abb") == "b"


def test_unknown_labels_stand_behind_known_ones():
    assert all_labels(["z", "y"], ["y", "b", "a"]) == ["z", "y", "a", "b"]
