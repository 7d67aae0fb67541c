"""Weights of Keras, both ways: against its equations in NumPy, and against Keras where it is installed."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurra.cells import GRU, IRNN, LSTM, Elman, MinGRU, OriginalGRU
from recurra.engine import scan
from recurra.errors import ConfigError, ShapeError
from recurra.export import from_keras, to_keras
from recurra.testing.tolerances import TOLERANCES

I, H, T, B = 3, 4, 6, 2
CLOSE = TOLERANCES[torch.float32]
KINDS = {"lstm": LSTM, "gru": GRU, "gru-original": OriginalGRU, "rnn": Elman}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def keras_step(weights, x, state):
    """One step as keras/src/layers/rnn/{lstm,gru,simple_rnn}.py of Keras 3.15 writes it (implementation 2)."""
    kernel, recurrent, *bias = weights
    bias = bias[0] if bias else np.zeros(kernel.shape[1], kernel.dtype)
    h, H = state[0], len(recurrent)
    gates = kernel.shape[1] // H
    if gates == 1:
        h = np.tanh(x @ kernel + h @ recurrent + bias)
        return h, [h]
    if gates == 4:
        i, f, c, o = np.split(x @ kernel + h @ recurrent + bias, 4, 1)
        memory = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(c)
        h = sigmoid(o) * np.tanh(memory)
        return h, [h, memory]
    reset_after = bias.ndim == 2
    xz, xr, xh = np.split(x @ kernel + (bias[0] if reset_after else bias), 3, 1)
    if reset_after:
        uz, ur, uh = np.split(h @ recurrent + bias[1], 3, 1)
        z, r = sigmoid(xz + uz), sigmoid(xr + ur)
        candidate = np.tanh(xh + r * uh)
    else:
        uz, ur = np.split(h @ recurrent[:, : 2 * H], 2, 1)
        z, r = sigmoid(xz + uz), sigmoid(xr + ur)
        candidate = np.tanh(xh + (r * h) @ recurrent[:, 2 * H :])
    h = z * h + (1 - z) * candidate
    return h, [h]


def keras_scan(weights, x):
    outputs, state = [], [np.zeros((x.shape[1], len(weights[1])), x.dtype)] * 2
    for inputs in x:
        output, state = keras_step(weights, inputs, state)
        outputs.append(output)
    return np.stack(outputs)


def random_weights(kind, bias=True, seed=0, shapes=(I, H)):
    generator = np.random.default_rng(seed)
    inputs, hidden = shapes
    gates = {"lstm": 4, "rnn": 1}.get(kind, 3)
    found = [generator.standard_normal((rows, gates * hidden)) for rows in (inputs, hidden)]
    if bias:
        found.append(generator.standard_normal((2, gates * hidden) if kind == "gru" else gates * hidden))
    return [array.astype(np.float32) for array in found]


def read(kind, weights):
    bias = len(weights) == 3
    return from_keras(weights, reset_after=None if bias or not kind.startswith("gru") else kind == "gru")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_computes_what_the_layer_computes(kind, bias):
    weights = random_weights(kind, bias)
    cell, x = read(kind, weights), torch.randn(T, B, I)
    assert type(cell) is KINDS[kind]
    with torch.no_grad():
        outputs, _ = scan(cell, x, backend="loop")
    if kind == "gru" and not bias:  # tells the reference which form it is
        weights = [*weights, np.zeros((2, 3 * H), np.float32)]
    np.testing.assert_allclose(outputs, keras_scan(weights, x.numpy()), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_computes_what_the_cell_computes(kind):
    cell, x = KINDS[kind](I, H), torch.randn(T, B, I)
    with torch.no_grad():
        outputs, _ = scan(cell, x, backend="loop")
    np.testing.assert_allclose(keras_scan(to_keras(cell), x.numpy()), outputs, **CLOSE)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    bias=st.booleans(),
    seed=st.integers(0, 10**6),
    shapes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_there_and_back_is_the_same_bits(kind, bias, seed, shapes):
    weights = random_weights(kind, bias, seed, shapes)
    back = to_keras(read(kind, weights))
    assert [a.shape for a in back] == [a.shape for a in weights]
    for ours, theirs in zip(back, weights, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


@given(kind=st.sampled_from(["gru", "gru-original"]), bias=st.booleans(), hidden=st.integers(1, 5))
def test_back_and_there_is_the_same_bits(kind, bias, hidden):
    cell = KINDS[kind](2, hidden, bias=bias)
    back = from_keras(to_keras(cell), reset_after=kind == "gru")
    assert type(back) is type(cell)
    for name, tensor in cell.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)


def test_the_two_forms_of_a_gru_are_told_apart():
    cell = GRU(I, H)
    with torch.no_grad():
        wrong = from_keras([*to_keras(cell)[:2], to_keras(cell)[2].sum(0)])
        x = torch.randn(T, B, I)
        assert type(wrong) is OriginalGRU
        assert (scan(cell, x, backend="loop")[0] - scan(wrong, x, backend="loop")[0]).abs().max() > 1e-3


def test_activations():
    weights = to_keras(IRNN(I, H))
    assert from_keras(weights, activation="relu").phi is torch.relu
    assert from_keras(weights).phi is torch.tanh


def test_double_precision_stays():
    weights = [array.astype(np.float64) for array in random_weights("lstm")]
    assert from_keras(weights).W.dtype == torch.float64


GOOD = random_weights("gru")


@pytest.mark.parametrize(
    ("weights", "options", "error", "message"),
    [
        ([], {}, ShapeError, "0 arrays"),
        (GOOD[:2], {}, ConfigError, "tell reset_after="),
        (GOOD, {"reset_after": False}, ConfigError, "reset_after=True, not False"),
        (GOOD, {"activation": "relu"}, ConfigError, "leave it out"),
        (random_weights("lstm"), {"reset_after": True}, ConfigError, "leave it out"),
        (random_weights("rnn"), {"activation": "rlu"}, ConfigError, "did you mean 'relu'"),
        ([GOOD[0], GOOD[1][:, :-1], GOOD[2]], {}, ShapeError, "no weights of a recurrent layer"),
        ([GOOD[0], GOOD[1], GOOD[2][0, :-1]], {}, ShapeError, "no weights of SimpleRNN, GRU or LSTM"),
        ([GOOD[0][:, :8], GOOD[1][:, :8]], {}, ShapeError, "no weights of SimpleRNN, GRU or LSTM"),
        ([np.zeros((2, 4), int), np.zeros((1, 4), int)], {}, ShapeError, "not int64"),
        ([["a", "b"], [["c"]]], {}, ShapeError, "not <U1"),
        ([np.zeros(3), np.zeros(3)], {}, ShapeError, "no weights of a recurrent layer"),
        ([np.zeros((0, 4)), np.zeros((0, 4))], {}, ShapeError, "no weights of a recurrent layer"),
    ],
)
def test_what_is_refused(weights, options, error, message):
    with pytest.raises(error, match=message):
        from_keras(weights, **options)


def test_cells_that_keras_has_no_layer_for():
    with pytest.raises(ConfigError, match="Keras has no layer for MinGRU"):
        to_keras(MinGRU(I, H))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_keras_itself(kind, bias, monkeypatch):
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    options = {"return_sequences": True, "use_bias": bias}
    layer = {
        "lstm": lambda: keras.layers.LSTM(H, **options),
        "gru": lambda: keras.layers.GRU(H, reset_after=True, **options),
        "gru-original": lambda: keras.layers.GRU(H, reset_after=False, **options),
        "rnn": lambda: keras.layers.SimpleRNN(H, **options),
    }[kind]()
    cell, x = KINDS[kind](I, H, bias=bias), torch.randn(T, B, I)
    layer.build((B, T, I))
    layer.set_weights(to_keras(cell))
    with torch.no_grad():
        for one in (cell, from_keras(layer.get_weights(), reset_after=kind == "gru" if "gru" in kind else None)):
            outputs, _ = scan(one, x, backend="loop")
            theirs = keras.ops.convert_to_numpy(layer(x.transpose(0, 1)))
            np.testing.assert_allclose(theirs.swapaxes(0, 1), outputs, **CLOSE)
