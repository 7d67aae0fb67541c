"""Every cell against scalar loops written from its paper, and against torch.nn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recurra.cells import GRU, IRNN, LSTM, Elman, Jordan, LayerNormLSTM, MinGRU, OriginalGRU, ProjectedLSTM
from recurra.engine import scan
from recurra.testing import TOLERANCES

T, B, I, H, O = 6, 3, 4, 5, 2
TOLERANCE = TOLERANCES[torch.float64]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def sigma(a):
    return 1 / (1 + math.exp(-a))


def relu(a):
    return max(a, 0.0)


def times(M, v):
    """Matrix times vector, one multiplication at a time."""
    return [sum(M[r][k] * v[k] for k in range(len(v))) for r in range(len(M))]


def plus(*vectors):
    return [sum(parts) for parts in zip(*vectors, strict=True)]


def each(fn, *vectors):
    return [fn(*parts) for parts in zip(*vectors, strict=True)]


def block(p, name, gate):
    """Rows of one gate, as nested lists."""
    return p[name][gate * H : (gate + 1) * H].tolist()


def affine(p, gate, x, h):
    """W x + U h + both biases, of one gate."""
    return plus(
        times(block(p, "weight_ih_l0", gate), x),
        times(block(p, "weight_hh_l0", gate), h),
        block(p, "bias_ih_l0", gate),
        block(p, "bias_hh_l0", gate) if "bias_hh_l0" in p else [0.0] * H,
    )


def elman(phi):
    def step(p, x, state):
        (h,) = state
        h = each(phi, affine(p, 0, x, h))
        return h, (h,)

    return step


def lstm(p, x, state):
    h, c = state
    i, f, o = (each(sigma, affine(p, gate, x, h)) for gate in (0, 1, 3))
    g = each(math.tanh, affine(p, 2, x, h))
    c = each(lambda f, c, i, g: f * c + i * g, f, c, i, g)
    h = each(lambda o, c: o * math.tanh(c), o, c)
    h = times(p["weight_hr_l0"].tolist(), h) if "weight_hr_l0" in p else h
    return h, (h, c)


def gru(p, x, state):
    (h,) = state
    r, z = (each(sigma, affine(p, gate, x, h)) for gate in (0, 1))
    from_x = plus(times(block(p, "weight_ih_l0", 2), x), block(p, "bias_ih_l0", 2))
    from_h = plus(times(block(p, "weight_hh_l0", 2), h), block(p, "bias_hh_l0", 2))
    n = each(lambda a, r, b: math.tanh(a + r * b), from_x, r, from_h)
    h = each(lambda z, n, h: (1 - z) * n + z * h, z, n, h)
    return h, (h,)


def original_gru(p, x, state):
    (h,) = state
    r, z = (each(sigma, affine(p, gate, x, h)) for gate in (0, 1))
    n = each(math.tanh, affine(p, 2, x, each(lambda r, h: r * h, r, h)))
    h = each(lambda z, n, h: (1 - z) * n + z * h, z, n, h)
    return h, (h,)


def jordan(p, x, state):
    (y,) = state
    h = each(math.tanh, affine(p, 0, x, y))
    y = each(relu, plus(times(p["weight_hr_l0"].tolist(), h), p["bias_hr_l0"].tolist()))
    return y, (y,)


def mingru(p, x, state):
    (h,) = state
    z, n = (plus(times(block(p, "weight_ih_l0", gate), x), block(p, "bias_ih_l0", gate)) for gate in (0, 1))
    z, n = each(sigma, z), each(lambda a: a + 0.5 if a >= 0 else sigma(a), n)
    h = each(lambda z, n, h: (1 - z) * h + z * n, z, n, h)
    return h, (h,)


def normalise(a, gain):
    mean = sum(a) / len(a)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in a) / len(a) + 1e-5)
    return [g * (v - mean) / deviation for g, v in zip(gain, a, strict=True)]


def layer_norm_lstm(p, x, state):
    h, c = state
    from_x = normalise(times(p["weight_ih_l0"].tolist(), x), p["weight_norm_ih_l0"].tolist())
    from_h = normalise(times(p["weight_hh_l0"].tolist(), h), p["weight_norm_hh_l0"].tolist())
    a = plus(from_x, from_h, p["bias_ih_l0"].tolist())
    i, f, g, o = (a[gate * H : (gate + 1) * H] for gate in range(4))
    c = each(lambda f, c, i, g: sigma(f) * c + sigma(i) * math.tanh(g), f, c, i, g)
    shown = plus(normalise(c, p["weight_norm_c_l0"].tolist()), p["bias_norm_c_l0"].tolist())
    h = each(lambda o, m: sigma(o) * math.tanh(m), o, shown)
    return h, (h, c)


ORACLES = [
    (lambda: Elman(I, H), elman(math.tanh)),
    (lambda: Elman(I, H, nonlinearity="relu"), elman(relu)),
    (lambda: IRNN(I, H), elman(relu)),
    (lambda: LSTM(I, H), lstm),
    (lambda: ProjectedLSTM(I, H, O), lstm),
    (lambda: GRU(I, H), gru),
    (lambda: OriginalGRU(I, H), original_gru),
    (lambda: Jordan(I, H, O, output_nonlinearity="relu"), jordan),
    (lambda: MinGRU(I, H), mingru),
    (lambda: LayerNormLSTM(I, H), layer_norm_lstm),
]
NAMES = ["rnn", "rnn-relu", "irnn", "lstm", "projected", "gru", "original", "jordan", "mingru", "layernorm"]


@pytest.mark.parametrize("backend", ["loop", "auto"])
@pytest.mark.parametrize(("make", "oracle"), ORACLES, ids=NAMES)
def test_cell_is_its_equations(make, oracle, backend):
    cell = make().double()
    with torch.no_grad():
        for parameter in cell.parameters():  # no gain of 1 or bias of 0 may hide a slip
            parameter.add_(torch.randn_like(parameter) / 2)
    p = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    inputs = torch.randn(T, B, I, dtype=torch.float64)
    state = type(cell.zero_state(B))(*(torch.randn_like(leaf) for leaf in cell.zero_state(B)))
    with torch.no_grad():
        outputs, final = scan(cell, inputs, state, backend=backend)
    for row in range(B):
        carried = tuple(leaf[row].tolist() for leaf in state)
        for t in range(T):
            output, carried = oracle(p, inputs[t, row].tolist(), carried)
            np.testing.assert_allclose(outputs[t, row].numpy(), output, **TOLERANCE)
        for leaf, expected in zip(final, carried, strict=True):
            np.testing.assert_allclose(leaf[row].numpy(), expected, **TOLERANCE)


MODULES = [
    (lambda **o: Elman(I, H, **o), lambda **o: torch.nn.RNN(I, H, **o)),
    (lambda **o: Elman(I, H, nonlinearity="relu", **o), lambda **o: torch.nn.RNN(I, H, nonlinearity="relu", **o)),
    (lambda **o: LSTM(I, H, **o), lambda **o: torch.nn.LSTM(I, H, **o)),
    (lambda **o: GRU(I, H, **o), lambda **o: torch.nn.GRU(I, H, **o)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("backend", ["loop", "library"])
@pytest.mark.parametrize(("make", "peer"), MODULES, ids=["rnn", "rnn-relu", "lstm", "gru"])
def test_cell_is_torchs_layer(make, peer, backend, bias, dtype):
    cell, module = make(bias=bias, dtype=dtype), peer(bias=bias, dtype=dtype)
    assert {n: p.shape for n, p in cell.named_parameters()} == {n: p.shape for n, p in module.named_parameters()}
    module.load_state_dict(cell.state_dict())
    inputs = torch.randn(T, B, I, dtype=dtype, requires_grad=True)
    state = tuple(torch.randn(B, H, dtype=dtype, requires_grad=True) for _ in cell.zero_state(B))
    given = tuple(leaf.unsqueeze(0) for leaf in state)
    expected, last = module(inputs, given if len(given) > 1 else given[0])
    outputs, final = scan(cell, inputs, type(cell.zero_state(B))(*state), backend=backend)
    last = last if isinstance(last, tuple) else (last,)
    ours, theirs = (outputs, *final), (expected, *(leaf.squeeze(0) for leaf in last))
    torch.testing.assert_close(ours, theirs, **TOLERANCES[dtype])
    weights = [torch.randn_like(leaf) for leaf in ours]
    mine = torch.autograd.grad(ours, (inputs, *state, *cell.parameters()), weights)
    torchs = torch.autograd.grad(theirs, (inputs, *state, *module.parameters()), weights)
    torch.testing.assert_close(mine, torchs, **TOLERANCES[dtype])


@pytest.mark.parametrize(
    ("make", "peer"),
    [
        (lambda: Elman(I, H), torch.nn.RNNCell),
        (lambda: LSTM(I, H), torch.nn.LSTMCell),
        (lambda: GRU(I, H), torch.nn.GRUCell),
    ],
    ids=["rnn", "lstm", "gru"],
)
def test_step_is_torchs_cell(make, peer):
    cell, theirs = make().double(), peer(I, H).double()
    theirs.load_state_dict({name.removesuffix("_l0"): value for name, value in cell.state_dict().items()})
    x = torch.randn(B, I, dtype=torch.float64)
    state = type(cell.zero_state(B))(*(torch.randn_like(leaf) for leaf in cell.zero_state(B)))
    output, after = cell.step(x, state)
    expected = theirs(x, tuple(state) if len(state) > 1 else state[0])
    expected = expected if isinstance(expected, tuple) else (expected,)
    torch.testing.assert_close(tuple(after), expected, **TOLERANCE)
    torch.testing.assert_close(output, expected[0], **TOLERANCE)
