"""torch.nn and back: the same outputs, the same bits of weights, and one line for what has no counterpart."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from recurra.cells import GRU, LSTM, Elman, MinGRU, OriginalGRU, ProjectedLSTM, make_cell
from recurra.errors import ConfigError
from recurra.export import from_torch, to_cells, to_torch
from recurra.layers import WindowAttention
from recurra.nn import Bidirectional, Stack
from recurra.state import named_leaves

I, H, T, B = 3, 4, 6, 2
EXACT = {"rtol": 0, "atol": 1e-6}
OPTIONS = [
    {},
    {"num_layers": 2, "dropout": 0.3},
    {"bidirectional": True, "num_layers": 2},
    {"bias": False},
    {"batch_first": True},
    {"dtype": torch.float64},
]
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # by torch's own module
CASES = [(kind, options) for kind in (nn.RNN, nn.GRU, nn.LSTM) for options in OPTIONS] + [
    (nn.RNN, {"nonlinearity": "relu"}),
    (nn.LSTM, {"proj_size": 2, "num_layers": 2}),
    (nn.LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
]


def leaves(hx):
    return [hx] if isinstance(hx, torch.Tensor) else list(hx)


@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
def test_all_options_both_ways(kind, options):
    theirs = kind(I, H, **options).eval()
    ours = from_torch(theirs)
    back = to_torch(ours)
    assert type(back) is kind
    assert type(ours) is not kind
    x = torch.randn(T, B, I, dtype=theirs.weight_ih_l0.dtype)
    with torch.no_grad():
        (want, hx), (found, state) = theirs(x), ours(x)
    torch.testing.assert_close(found, want, **EXACT)
    for ours_, theirs_ in zip(leaves(state), leaves(hx), strict=True):
        torch.testing.assert_close(ours_, theirs_, **EXACT)
    for name in ("num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size", "training"):
        assert getattr(ours, name) == getattr(back, name) == getattr(theirs, name)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)
        assert back.state_dict()[name].data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
def test_cells_of_a_module_and_back(kind, options):
    theirs = kind(I, H, **options).eval()
    layers = to_cells(theirs)
    x = torch.randn(T, B, I, dtype=theirs.weight_ih_l0.dtype)
    with torch.no_grad():
        found, state = layers(x, backend="loop")
        want, hx = theirs(x.transpose(0, 1) if theirs.batch_first else x)
    torch.testing.assert_close(found, want.transpose(0, 1) if theirs.batch_first else want, **EXACT)
    names = [name.rpartition(".")[2] for name in named_leaves(state)]
    for name, leaf in zip(("h", "c"), leaves(hx), strict=False):
        ours = [value for key, value in zip(names, named_leaves(state).values(), strict=True) if key == name]
        torch.testing.assert_close(torch.stack(ours), leaf, **EXACT)
    back = to_torch(layers)
    assert type(back) is kind
    assert back.dropout == theirs.dropout
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)


@given(
    name=st.sampled_from(["rnn", "rnn-relu", "irnn", "lstm", "gru"]),
    layers=st.integers(1, 3),
    both=st.booleans(),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    bias=st.booleans(),
)
def test_there_and_back_is_the_same_bits(name, layers, both, sizes, bias):
    inputs, hidden = sizes
    widths = [inputs, *[hidden * (1 + both)] * (layers - 1)]
    cells = [[make_cell(name, width, hidden, bias=bias) for _ in range(1 + both)] for width in widths]
    module = Bidirectional([(a, b) for a, b in cells]) if both else Stack([cell for (cell,) in cells])
    back = to_cells(to_torch(module))
    assert type(back) is type(module)
    assert back.state_dict().keys() == module.state_dict().keys()
    for key, tensor in module.state_dict().items():
        assert torch.equal(back.state_dict()[key], tensor)


def test_a_cell_alone():
    cell = LSTM(I, H)
    module = to_torch(cell)
    assert type(module) is nn.LSTM
    assert torch.equal(module.weight_ih_l0, cell.W)


def test_drawing_weights_that_are_replaced_draws_nothing():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    module = nn.LSTM(I, H).requires_grad_(False)
    torch.manual_seed(1)
    to_torch(from_torch(module))
    to_torch(to_cells(module))
    assert torch.equal(torch.rand(3), expected)


def stack(*cells, **options):
    return Stack(cells or [GRU(I, I), GRU(I, I)], **options)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (MinGRU(I, H), "MinGRU has no counterpart in torch.nn"),
        (OriginalGRU(I, H), "whose GRU resets after the product"),
        (stack(residual=True), "no residual"),
        (stack(zoneout=0.1), "no zoneout"),
        (stack(weight_drop=0.1), "call eval"),
        (stack(LSTM(I, H), attention=WindowAttention(H, I, 3)), "no attention"),
        (stack(LSTM(I, H), LSTM(H, 5)), "one kind and size"),
        (stack(LSTM(I, H), GRU(H, H)), "one kind and size"),
        (stack(LSTM(I, H), LSTM(H, H, bias=False)), "one kind and size"),
        (stack(Elman(I, H), Elman(H, H, nonlinearity="relu")), "one kind and size"),
        (stack(ProjectedLSTM(I, H, 2), ProjectedLSTM(2, H, 3)), "one kind and size"),
        (nn.Linear(I, H), "Linear has no counterpart"),
    ],
)
def test_what_has_no_counterpart(module, message):
    with pytest.raises(ConfigError, match=message):
        to_torch(module)


def test_weights_that_are_dropped_in_training_are_whole_afterwards():
    module = stack(weight_drop=0.1).eval()
    x = torch.randn(T, B, I)
    with torch.no_grad():
        torch.testing.assert_close(to_torch(module)(x)[0], module(x, backend="loop")[0], **EXACT)


def test_other_modules_are_not_read():
    with pytest.raises(ConfigError, match="not Linear"):
        from_torch(nn.Linear(2, 2))
