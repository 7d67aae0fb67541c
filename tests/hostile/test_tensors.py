"""Files of tensors: weights, checkpoints and states, all safetensors.

What could go wrong: a header that declares gigabytes is believed before the file is looked at; offsets overlap or lie
outside; types and shapes are others than the reader takes for granted; numbers are changed and nobody notices.
"""

import tempfile
from pathlib import Path

import torch
from hypothesis import given
from mutations import cases, mutated, survives

from recurra import state as states
from recurra.cells import LSTM
from recurra.checkpoint.weights import pack, read_tensors, read_weights
from recurra.errors import RecurraError

WEIGHTS = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.int64), "c": torch.zeros(0, 2)}
SEALED = pack(WEIGHTS, run="ours", seal=True)
LIKE = LSTM(2, 3).zero_state(2)


def with_file(data: bytes, read):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.safetensors"
        path.write_bytes(data)
        return survives(lambda: read(path))


def saved_state() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        states.save(LIKE, Path(folder) / "s")
        return Path(folder, "s").read_bytes()


@cases(30)
@given(mutated(pack(WEIGHTS)))
def test_tensors_are_read_or_refused(data):
    with_file(data, read_tensors)


@cases(30)
@given(mutated(SEALED))
def test_sealed_weights_are_the_same_or_refused(data):
    found = with_file(data, lambda path: read_weights(path, run="ours"))
    if not isinstance(found, RecurraError):
        assert found.keys() == WEIGHTS.keys()
        assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


@cases(30)
@given(mutated(saved_state()))
def test_a_state_is_read_or_refused(data):
    with_file(data, lambda path: states.load(path, LIKE))
