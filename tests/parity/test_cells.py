"""Every cell against scalar loops written from its paper, and against torch.nn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recurra.cells import (
    CELLS,
    GRU,
    IRNN,
    LSTM,
    MGU,
    RGLRU,
    SLSTM,
    SRU,
    UGRNN,
    CoupledLSTM,
    Elman,
    IndRNN,
    Jordan,
    LayerNormGRU,
    LayerNormLSTM,
    MinGRU,
    MinLSTM,
    MogrifierLSTM,
    OriginalGRU,
    PeepholeLSTM,
    ProjectedLSTM,
)
from recurra.engine import scan
from recurra.testing import TOLERANCES

T, B, I, H, O = 6, 3, 3, 5, 2
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


def before_gate(p, unit, x, h):
    """W x + U h + b of one row of the matrices."""
    W, U, b = p["weight_ih_l0"][unit], p["weight_hh_l0"][unit], p["bias_ih_l0"][unit]
    return sum(W[k] * x[k] for k in range(len(x))) + sum(U[k] * h[k] for k in range(len(h))) + b


def peephole_lstm(p, x, state):
    (h, c), peep = state, p["weight_ch_l0"]
    new_h, new_c = [], []
    for j in range(H):
        i = sigma(before_gate(p, j, x, h) + peep[j] * c[j])
        f = sigma(before_gate(p, H + j, x, h) + peep[H + j] * c[j])
        g = math.tanh(before_gate(p, 2 * H + j, x, h))
        new_c.append(f * c[j] + i * g)
        o = sigma(before_gate(p, 3 * H + j, x, h) + peep[2 * H + j] * new_c[j])
        new_h.append(o * math.tanh(new_c[j]))
    return new_h, (new_h, new_c)


def coupled_lstm(p, x, state):
    h, c = state
    new_h, new_c = [], []
    for j in range(H):
        f, o = sigma(before_gate(p, j, x, h)), sigma(before_gate(p, 2 * H + j, x, h))
        i = 1 - f
        new_c.append(f * c[j] + i * math.tanh(before_gate(p, H + j, x, h)))
        new_h.append(o * math.tanh(new_c[j]))
    return new_h, (new_h, new_c)


def mogrifier_lstm(p, x, state):
    h, c = state
    k = 1
    while f"weight_mog{k}_l0" in p:
        M = p[f"weight_mog{k}_l0"]
        M = M @ p[f"weight_mog{k}_in_l0"] if f"weight_mog{k}_in_l0" in p else M
        if k % 2 == 1:
            x = [2 * sigma(gate) * value for gate, value in zip(times(M, h), x, strict=True)]
        else:
            h = [2 * sigma(gate) * value for gate, value in zip(times(M, x), h, strict=True)]
        k += 1
    return lstm({name: value for name, value in p.items() if "mog" not in name}, x, (h, c))


def mgu(p, x, state):
    (h,) = state
    f = [sigma(before_gate(p, j, x, h)) for j in range(H)]
    kept = [f[k] * h[k] for k in range(H)]
    n = [math.tanh(before_gate(p, H + j, x, kept)) for j in range(H)]
    h = [(1 - f[j]) * h[j] + f[j] * n[j] for j in range(H)]
    return h, (h,)


def ugrnn(p, x, state):
    (h,) = state
    g = [sigma(before_gate(p, j, x, h)) for j in range(H)]
    c = [math.tanh(before_gate(p, H + j, x, h)) for j in range(H)]
    h = [g[j] * h[j] + (1 - g[j]) * c[j] for j in range(H)]
    return h, (h,)


def indrnn(p, x, state):
    (h,), W, u, b = state, p["weight_ih_l0"], p["weight_hh_l0"], p["bias_ih_l0"]
    h = [relu(sum(W[j][k] * x[k] for k in range(I)) + u[j] * h[j] + b[j]) for j in range(H)]
    return h, (h,)


def minlstm(p, x, state):
    (h,) = state
    f, i, n = (plus(times(block(p, "weight_ih_l0", gate), x), block(p, "bias_ih_l0", gate)) for gate in range(3))
    new_h = []
    for j in range(H):
        total = sigma(f[j]) + sigma(i[j])
        candidate = n[j] + 0.5 if n[j] >= 0 else sigma(n[j])
        new_h.append(sigma(f[j]) / total * h[j] + sigma(i[j]) / total * candidate)
    return new_h, (new_h,)


def sru(p, x, state):
    (c,), v, b = state, p["weight_ch_l0"], p["bias_ih_l0"]
    projections = [times(block(p, "weight_ih_l0", part), x) for part in range(len(p["weight_ih_l0"]) // H)]
    skip = projections[3] if len(projections) == 4 else [math.sqrt(1 + 2 * math.exp(-1.0)) * value for value in x]
    new_h, new_c = [], []
    for j in range(H):
        f = sigma(projections[0][j] + v[j] * c[j] + b[j])
        r = sigma(projections[1][j] + v[H + j] * c[j] + b[H + j])
        new_c.append(f * c[j] + (1 - f) * projections[2][j])
        new_h.append(r * new_c[j] + (1 - r) * skip[j])
    return new_h, (new_c,)


def rglru(p, x, state):
    (h,), b = state, p["bias_ih_l0"]
    x = times(p["weight_xh_l0"].tolist(), x) if "weight_xh_l0" in p else x
    r, i = (times(block(p, "weight_ih_l0", gate), x) for gate in (0, 1))
    new_h = []
    for j in range(H):
        a = sigma(p["weight_a_l0"][j]) ** (8 * sigma(r[j] + b[j]))
        new_h.append(a * h[j] + math.sqrt(1 - a * a) * sigma(i[j] + b[H + j]) * x[j])
    return new_h, (new_h,)


def slstm(p, x, state):
    """Without the stabiliser, whose factor e^m is put back before a step and taken out after it."""
    h, c, n, m = state
    heads, rows, size = p["weight_hh_l0"].shape
    U = np.zeros((4 * len(h), len(h)))
    for head, gate, j, k in np.ndindex(heads, 4, size, size):
        U[gate * len(h) + head * size + j, head * size + k] = p["weight_hh_l0"][head, gate * size + j, k]
    p, units = {**p, "weight_hh_l0": U}, len(h)
    assert rows == 4 * size
    new_h, new_c, new_n, new_m = [], [], [], []
    for j in range(units):
        i, f, z, o = (before_gate(p, gate * units + j, x, h) for gate in range(4))
        memory = sigma(f) * c[j] * math.exp(m[j]) + math.exp(i) * math.tanh(z)
        normaliser = sigma(f) * n[j] * math.exp(m[j]) + math.exp(i)
        new_h.append(sigma(o) * memory / normaliser)
        new_m.append(max(math.log(sigma(f)) + m[j], i))
        new_c.append(memory / math.exp(new_m[j]))
        new_n.append(normaliser / math.exp(new_m[j]))
    return new_h, (new_h, new_c, new_n, new_m)


def layer_norm_gru(p, x, state):
    (h,) = state
    from_x = normalise(times(p["weight_ih_l0"].tolist(), x), p["weight_norm_ih_l0"].tolist())
    from_h = normalise(times(p["weight_hh_l0"].tolist(), h), p["weight_norm_hh_l0"].tolist())
    from_x, from_h = plus(from_x, p["bias_ih_l0"].tolist()), plus(from_h, p["bias_hh_l0"].tolist())
    new_h = []
    for j in range(H):
        r, z = sigma(from_x[j] + from_h[j]), sigma(from_x[H + j] + from_h[H + j])
        n = math.tanh(from_x[2 * H + j] + r * from_h[2 * H + j])
        new_h.append((1 - z) * n + z * h[j])
    return new_h, (new_h,)


ORACLES = {
    "rnn": (lambda: Elman(I, H), elman(math.tanh)),
    "rnn-relu": (lambda: Elman(I, H, nonlinearity="relu"), elman(relu)),
    "irnn": (lambda: IRNN(I, H), elman(relu)),
    "lstm": (lambda: LSTM(I, H), lstm),
    "lstm-projected": (lambda: ProjectedLSTM(I, H, O), lstm),
    "gru": (lambda: GRU(I, H), gru),
    "gru-original": (lambda: OriginalGRU(I, H), original_gru),
    "jordan": (lambda: Jordan(I, H, O, output_nonlinearity="relu"), jordan),
    "mingru": (lambda: MinGRU(I, H), mingru),
    "lstm-layernorm": (lambda: LayerNormLSTM(I, H), layer_norm_lstm),
    "lstm-peephole": (lambda: PeepholeLSTM(I, H), peephole_lstm),
    "lstm-coupled": (lambda: CoupledLSTM(I, H), coupled_lstm),
    "lstm-mogrifier": (lambda: MogrifierLSTM(I, H), mogrifier_lstm),
    "lstm-mogrifier, low rank": (lambda: MogrifierLSTM(I, H, rounds=3, rank=2), mogrifier_lstm),
    "mgu": (lambda: MGU(I, H), mgu),
    "ugrnn": (lambda: UGRNN(I, H), ugrnn),
    "indrnn": (lambda: IndRNN(I, H), indrnn),
    "minlstm": (lambda: MinLSTM(I, H), minlstm),
    "sru": (lambda: SRU(I, H), sru),
    "sru, equal sizes": (lambda: SRU(H, H, highway_bias=-1.0), sru),
    "rglru": (lambda: RGLRU(I, H), rglru),
    "rglru, equal sizes": (lambda: RGLRU(H, H), rglru),
    "slstm": (lambda: SLSTM(I, H), slstm),
    "slstm, four heads": (lambda: SLSTM(I, 4 * H, heads=4), slstm),
    "gru-layernorm": (lambda: LayerNormGRU(I, H), layer_norm_gru),
}


def test_every_cell_in_the_box_has_an_oracle():
    assert set(CELLS) <= set(ORACLES)


def warm_and_fresh(cell):
    """A state whose first row is fresh and whose other rows are random, positive where it is divided by."""
    fresh = cell.zero_state(B)
    warm = {name: torch.randn_like(leaf) for name, leaf in fresh._asdict().items()}
    if "n" in warm:
        warm["n"] = warm["n"].abs() + 0.5
    is_fresh = (torch.arange(B) == 0).unsqueeze(1)
    return type(fresh)(*(torch.where(is_fresh, leaf, warm[name]) for name, leaf in fresh._asdict().items()))


@pytest.mark.parametrize("backend", ["loop", "llvm"])
@pytest.mark.parametrize("name", ORACLES)
def test_cell_is_its_equations(name, backend):
    make, oracle = ORACLES[name]
    cell = make().double()
    with torch.no_grad():
        for parameter in cell.parameters():  # no gain of 1 or bias of 0 may hide a slip
            parameter.add_(torch.randn_like(parameter) / 2)
    p = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    inputs = torch.randn(T, B, cell.input_size, dtype=torch.float64)
    state = warm_and_fresh(cell)
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


@pytest.mark.parametrize(
    ("bias", "dtype"),
    [
        (True, torch.float32),
        (True, torch.float64),
        (False, torch.float64),
        pytest.param(False, torch.float32, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("backend", ["loop", "library", "llvm"])
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
