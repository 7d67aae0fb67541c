"""What cells share: parameters under torch's names, their first values, and views with other parameters."""

from __future__ import annotations

import pytest
import torch

from recurra.cells import CELLS, GRU, IRNN, LSTM, MGU, Cell, Elman, Jordan, LayerNormLSTM, MinGRU, MinLSTM, OriginalGRU
from recurra.engine import scan
from recurra.errors import ConfigError, ShapeError
from recurra.state import batch_size, named_leaves
from recurra.testing import TOLERANCES

NAMES = list(CELLS)
WITHOUT_U = {"mingru", "minlstm", "rglru", "sru"}
UNUSUAL = {"rglru": {"W": (8, 4)}, "sru": {"b": (8,)}, "indrnn": {"U": (4,)}, "slstm": {"U": (1, 16, 4)}}
"""Shapes for 3 inputs and 4 units that are not those of W (G·H, I), U (G·H, H), b (G·H,)."""


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NAMES)
def test_symbols_are_the_parameters_under_torchs_names(name):
    cell = CELLS[name](3, 4)
    assert cell.W is cell.weight_ih_l0
    assert cell.b is cell.bias_ih_l0
    rows = cell.gates * 4
    shapes = {"W": (rows, 3), "U": (rows, cell.output_size), "b": (rows,)} | UNUSUAL.get(name, {})
    assert cell.W.shape == shapes["W"]
    assert cell.b.shape == shapes["b"]
    if name not in WITHOUT_U:
        assert cell.U is cell.weight_hh_l0
        assert cell.U.shape == shapes["U"]


@pytest.mark.parametrize("name", sorted(WITHOUT_U))
def test_without_recurrent_weights_there_is_no_symbol(name):
    with pytest.raises(AttributeError):
        CELLS[name](3, 4).U  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_output_and_state_are_of_the_promised_sizes_and_type(name):
    cell = CELLS[name](3, 4, dtype=torch.float64)
    state = cell.zero_state(2)
    output, after = cell(torch.zeros(2, 3, dtype=torch.float64), state)
    assert output.shape == (2, cell.output_size)
    assert type(after) is type(state)
    assert batch_size(state) == 2
    assert {leaf.dtype for leaf in named_leaves(state).values()} == {torch.float64}
    assert not any(leaf.any() for leaf in named_leaves(state).values() if leaf is not getattr(state, "m", None))


@pytest.mark.parametrize("name", NAMES)
def test_without_bias_no_bias_is_there(name):
    cell = CELLS[name](3, 4, bias=False)
    assert cell.b is None
    assert not any("bias" in parameter for parameter, _ in cell.named_parameters())
    assert scan(cell, torch.randn(5, 2, 3), backend="loop")[0].isfinite().all()


@pytest.mark.parametrize(
    "name", [name if name in ("lstm", "mgu", "sru") else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_without_bias_a_cell_is_compiled(name):
    cell, x = CELLS[name](3, 5, bias=False, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        found, expected = (scan(cell, x, backend=backend)[0] for backend in ("llvm", "loop"))
    torch.testing.assert_close(found, expected, **TOLERANCES[torch.float64])


@pytest.mark.parametrize("name", NAMES)
def test_the_device_is_that_of_the_caller(name):
    cell = CELLS[name](3, 4, device="meta")
    assert {leaf.device.type for leaf in named_leaves(cell.zero_state(1)).values()} == {"meta"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [(0, 4), (3, 0), (-1, 4)])
def test_sizes_are_positive(name, sizes):
    with pytest.raises(ShapeError, match="sizes must be positive"):
        CELLS[name](*sizes)


@pytest.mark.parametrize("cell", [Elman, LSTM, GRU, OriginalGRU, MinGRU, Jordan, MGU, MinLSTM])
def test_first_values_are_torchs(cell):
    cell = cell(3, 100)
    assert 0.99 < cell.W.abs().max() * 10 <= 1
    assert 0.04 < cell.W.std() < 0.07
    before = cell.W.clone()
    cell.reset_parameters()
    assert not torch.equal(before, cell.W)


def test_irnn_starts_as_a_perfect_memory():
    cell = IRNN(3, 4)
    assert torch.equal(cell.U, torch.eye(4))
    assert not cell.b.any()
    assert not cell.b_U.any()
    h = torch.rand(2, 4)
    assert torch.equal(cell.step(torch.zeros(2, 3), type(cell.zero_state(1))(h))[0], h)


def test_forget_bias_is_the_sum_of_both_biases():
    plain = LSTM(3, 4, forget_bias=2.0)
    assert (plain.b + plain.b_U)[4:8].tolist() == [2.0] * 4
    assert (plain.b + plain.b_U)[:4].abs().max() < 1 + 1e-6
    normal = LayerNormLSTM(3, 4, forget_bias=2.0)
    assert normal.b.tolist() == [0.0] * 4 + [2.0] * 4 + [0.0] * 8
    assert normal.weight_norm_c_l0.tolist() == [1.0] * 4
    assert normal.bias_norm_c_l0.tolist() == [0.0] * 4


def test_jordan_feeds_its_output_back():
    cell = Jordan(3, 4, 2)
    assert cell.output_size == 2
    outputs, final = scan(cell, torch.randn(5, 2, 3))
    assert torch.equal(outputs[-1], final.y)
    with pytest.raises(ShapeError, match="output_size=0"):
        Jordan(3, 4, 0)
    for option in ("nonlinearity", "output_nonlinearity"):
        with pytest.raises(ConfigError, match=f"unknown {option} 'tahn'; did you mean 'tanh'"):
            Jordan(3, 4, **{option: "tahn"})


def test_unknown_nonlinearity_is_named():
    with pytest.raises(ConfigError, match="'rely'; did you mean 'relu'"):
        Elman(3, 4, nonlinearity="rely")


def test_bind_computes_with_the_given_tensors_and_copies_nothing():
    cell, x = LSTM(3, 4), torch.randn(5, 2, 3)
    before, keys = scan(cell, x)[0], list(cell.state_dict())
    other = torch.randn(16, 4, requires_grad=True)
    view = cell.bind(weight_hh_l0=other)
    outputs, _ = scan(view, x)
    outputs.sum().backward()
    assert other.grad is not None
    assert cell.U.grad is None
    assert view.W is cell.W
    assert not torch.equal(outputs, before)
    assert torch.equal(scan(cell, x)[0], before)
    assert list(cell.state_dict()) == keys
    with pytest.raises(ShapeError, match="LSTM has no parameter 'U'"):
        cell.bind(U=other)
    with pytest.raises(ShapeError, match=r"'weight_hh_l0' has shape \(4, 4\), expected \(16, 4\)"):
        cell.bind(weight_hh_l0=torch.zeros(4, 4))


def test_the_base_has_no_equations():
    cell = Cell(3, 4)
    with pytest.raises(NotImplementedError):
        cell.zero_state(1)
    with pytest.raises(NotImplementedError):
        cell.step(torch.zeros(1, 3), None)
    assert repr(cell) == "Cell(3, 4)"
