"""The validation part: drawn fairly, always the same, never a leak."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.data.examples import Examples
from recurra.data.examples.splitting import count_shared, split_examples
from recurra.errors import DataError

EXAMPLES = st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.sampled_from("xyz")), min_size=2, max_size=60)


@given(EXAMPLES, st.floats(0.05, 0.9), st.booleans())
def test_every_example_is_on_one_side_and_no_input_on_both(rows, fraction, stratify):
    inputs, labels = [row[0] for row in rows], [row[1] for row in rows]
    if len(set(inputs)) < 2:
        return
    train, valid = split_examples(Examples(inputs, labels), fraction, name="x", stratify=stratify)
    assert sorted(train + valid) == list(range(len(rows)))
    assert not {inputs[n] for n in train} & {inputs[n] for n in valid}
    if stratify and len(set(inputs)) == len(inputs):
        assert {labels[n] for n in valid} <= {labels[n] for n in train}


@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_labels_have_equal_shares_on_both_sides(fraction):
    labels = ["a"] * 400 + ["b"] * 80 + ["c"] * 20
    examples = Examples([f"text {n}" for n in range(500)], labels)
    _, valid = split_examples(examples, fraction, name="x", stratify=True)
    counts = Counter(labels[n] for n in valid)
    for label, count in Counter(labels).items():
        assert abs(counts[label] - fraction * count) <= 1
    assert abs(len(valid) - fraction * 500) <= 1
    assert split_examples(examples, fraction, name="x", stratify=True)[1] == valid


@pytest.mark.parametrize("equal", ["a", ["a", "b"], np.ones(3, np.float32), np.ones((2, 2), np.uint8)], ids=str)
def test_equal_inputs_of_every_kind_are_seen(equal):
    with pytest.raises(DataError, match="all inputs of x are equal"):
        split_examples(Examples([equal, equal]), 0.5, name="x")
    assert count_shared(Examples([equal]), Examples([equal, equal])) == 2


def test_nothing_is_drawn_where_nothing_is_wanted_and_something_where_little_is():
    examples = Examples(["a", "b", "c"], ["x", "x", "y"])
    assert split_examples(examples, 0.0, name="x") == ([0, 1, 2], [])
    train, valid = split_examples(examples, 0.01, name="x", stratify=True)
    assert (len(train), len(valid)) == (2, 1)
    assert 2 in train
