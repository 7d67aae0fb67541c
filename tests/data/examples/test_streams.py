"""Batches of like length: every example once, the same for the same seed, little padding."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurra.data.examples import BucketStream, Examples, NumbersInput, StepLabels, encode
from recurra.data.examples.streams import BATCHES_PER_CHUNK
from recurra.errors import DataError

INPUT = NumbersInput()


def encoded(lengths):
    return encode(Examples([np.full(length, n, np.float32) for n, length in enumerate(lengths)]), INPUT)


def numbers_of(stream):
    return [batch.numbers.tolist() for batch in stream]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=80), st.integers(1, 7), st.integers(0, 5), st.booleans())
def test_every_example_comes_once_per_epoch(lengths, rows, seed, shuffle):
    stream = BucketStream(encoded(lengths), INPUT, None, rows=rows, seed=seed, epoch=1, shuffle=shuffle)
    assert sorted(chain(*numbers_of(stream))) == list(range(len(lengths)))
    assert len(stream) == -(-len(lengths) // rows)
    for batch in stream:
        assert batch.inputs.lengths.tolist() == [lengths[n] for n in batch.numbers]
        for row, n in enumerate(batch.numbers):
            assert (batch.inputs.values[: lengths[n], row] == n).all()
        assert batch.targets is None


def test_batches_are_the_same_for_the_same_seed_and_epoch_alone():
    data = encoded(np.random.default_rng(0).integers(1, 30, 500).tolist())

    def order(seed, epoch):
        return numbers_of(BucketStream(data, INPUT, None, rows=8, seed=seed, epoch=epoch))

    assert order(0, 1) == order(0, 1)
    assert len({str(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    stream = BucketStream(data, INPUT, None, rows=8)
    assert [batch.numbers.tolist() for batch in stream[3:6]] == numbers_of(stream)[3:6]
    assert torch.equal(stream[-1].inputs.values, stream[len(stream) - 1].inputs.values)


def test_rows_of_a_batch_are_of_like_length():
    lengths = np.random.default_rng(0).integers(1, 200, 8 * BATCHES_PER_CHUNK * 3)
    stream = BucketStream(encoded(lengths), INPUT, None, rows=8)
    steps = sum(batch.inputs.values.shape[0] * 8 for batch in stream)
    assert steps < 1.05 * lengths.sum()
    longest = [batch.inputs.values.shape[0] for batch in stream]
    assert longest != sorted(longest)
    longest = [
        batch.inputs.values.shape[0] for batch in BucketStream(encoded(lengths), INPUT, None, rows=8, shuffle=False)
    ]
    assert longest == sorted(longest)


def test_labels_of_steps_are_padded_with_nothing():
    labels = StepLabels(["x", "y"])
    examples = Examples([[1.0], [1.0, 2.0]], [["y"], ["x", "y"]])
    stream = BucketStream(encode(examples, INPUT, labels), INPUT, labels, rows=2, shuffle=False)
    assert stream[0].targets.tolist() == [[1, 0], [-1, 1]]


def test_examples_that_do_not_fit_are_named():
    labels = StepLabels(["x", "y"])
    with pytest.raises(DataError, match=r"here: 1 labels for 2 steps; give one label for each"):
        encode(Examples([[1.0, 2.0]], [["x"]], ["here"]), INPUT, labels)
    with pytest.raises(DataError, match=r"here: the label 'z' was never seen in training"):
        encode(Examples([[1.0]], [["z"]], ["here"]), INPUT, labels)
    with pytest.raises(DataError, match=r"example 2: a sequence of numbers holds numbers alone"):
        encode(Examples([[1.0], ["a"]]), INPUT)


def test_a_batch_has_rows():
    with pytest.raises(DataError, match="at least 1 row"):
        BucketStream(encoded([1]), INPUT, None, rows=0)
