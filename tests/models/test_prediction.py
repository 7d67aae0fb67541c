import numpy as np
import pytest
import torch
from torch import nn

from recurra.data.examples import NumbersInput
from recurra.errors import ConfigError, DataError
from recurra.models.prediction import predict_in_batches

INPUTS = [np.arange(steps, dtype=np.float32) for steps in (3, 1, 5, 2, 4)]


def sums(seen=None):
    def predict(padded):
        if seen is not None:
            seen.append(padded.lengths.tolist())
        return padded.values.sum((0, 2)).tolist()

    return predict


@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_order_is_kept_whatever_the_batches(batch):
    found = predict_in_batches(nn.Linear(1, 1), NumbersInput(1), INPUTS, sums(), batch=batch)
    assert found == [float(x.sum()) for x in INPUTS]


def test_similar_lengths_are_read_together_and_progress_is_told():
    seen, told = [], []
    predict_in_batches(
        nn.Linear(1, 1), NumbersInput(1), INPUTS, sums(seen), batch=2, progress=lambda *done: told.append(done)
    )
    assert seen == [[1, 2], [3, 4], [5]]
    assert told == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_left_as_it_was_even_by_an_error(training):
    model = nn.Dropout(0.5).train(training)
    model.weight = nn.Parameter(torch.ones(1))

    def fail(padded):
        assert not model.training
        assert not torch.is_grad_enabled()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        predict_in_batches(model, NumbersInput(1), INPUTS, fail)
    assert model.training == training
    assert torch.is_grad_enabled()


def test_no_inputs_no_predictions():
    assert predict_in_batches(nn.Linear(1, 1), NumbersInput(1), [], sums()) == []


def test_an_input_that_cannot_be_read_is_named():
    with pytest.raises(DataError, match="input 2: a sequence of numbers"):
        predict_in_batches(nn.Linear(1, 1), NumbersInput(1), [INPUTS[0], "words"], sums())
    with pytest.raises(ConfigError, match="'batch' must be at least 1"):
        predict_in_batches(nn.Linear(1, 1), NumbersInput(1), INPUTS, sums(), batch=0)
