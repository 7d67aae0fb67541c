"""Initial weights by name, gate by gate."""

from __future__ import annotations

import pytest
import torch

from recurra.cells import CELLS, GRU, INITIALISERS, LSTM, RGLRU, SLSTM, SRU, Elman, IndRNN, Jordan, MinGRU, initialise
from recurra.errors import ConfigError
from recurra.testing import TOLERANCES


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def close(found, expected):
    torch.testing.assert_close(found, expected, **TOLERANCES[found.dtype])


@pytest.mark.parametrize("cell", [Elman, GRU, LSTM])
def test_every_gate_is_orthogonal_by_itself(cell):
    cell = cell(3, 8)
    before = cell.W.clone()
    initialise(cell, U="orthogonal")
    for U in cell.U.detach().chunk(cell.gates):
        close(U @ U.T, torch.eye(8))
    assert torch.equal(cell.W, before)


def test_identity_and_zeros():
    cell = LSTM(3, 8)
    initialise(cell, W="zeros", U="identity")
    assert torch.equal(cell.U, torch.eye(8).repeat(4, 1))
    assert not cell.W.any()
    assert cell.U.requires_grad


def test_every_head_is_orthogonal_by_itself():
    cell = SLSTM(3, 8, heads=2)
    initialise(cell, U="orthogonal")
    for head in cell.U.detach():
        for U in head.chunk(cell.gates):
            close(U @ U.T, torch.eye(4))
    initialise(cell, U="identity")
    assert torch.equal(cell.U, torch.eye(4).repeat(2, 4, 1))


def test_one_weight_per_unit_is_uniform_or_zero():
    cell = IndRNN(3, 100)
    initialise(cell, U="uniform")
    assert 0.9 < cell.u.abs().max() * 10 <= 1
    assert cell.u.min() < 0
    initialise(cell, U="zeros")
    assert not cell.u.any()


@pytest.mark.parametrize("cell", [SRU(3, 4), SRU(4, 4), RGLRU(3, 4), RGLRU(4, 4)], ids=repr)
def test_blocks_of_gates_that_see_the_input_alone(cell):
    initialise(cell, W="orthogonal")
    for W in cell.W.detach().split(4):
        close(W.T @ W, torch.eye(W.shape[1]))


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_in_the_box_can_start_anew(name):
    cell = CELLS[name](3, 4)
    has_U = getattr(cell, "U", None) is not None
    before = {name: value.clone() for name, value in cell.state_dict().items()}
    initialise(cell, W="uniform", U="uniform" if has_U else None)
    changed = {name for name, value in cell.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == ({"weight_ih_l0", "weight_hh_l0"} if has_U else {"weight_ih_l0"})


def test_xavier_and_uniform_bounds_are_those_of_one_gate():
    cell = LSTM(50, 100)
    initialise(cell, W="xavier", U="uniform")
    bound = (6 / (50 + 100)) ** 0.5
    assert 0.99 * bound < cell.W.abs().max() <= bound
    assert 0.99 < cell.U.abs().max() * 10 <= 1


def test_a_seed_decides_everything():
    one, other = GRU(3, 4), GRU(3, 4)
    for name in INITIALISERS:
        if name != "identity":
            for cell in (one, other):
                torch.manual_seed(1)
                initialise(cell, W=name, U=name)
            assert torch.equal(one.W, other.W)
            assert torch.equal(one.U, other.U)


def test_nothing_given_changes_nothing():
    cell = GRU(3, 4)
    before = {name: value.clone() for name, value in cell.state_dict().items()}
    initialise(cell)
    assert all(torch.equal(before[name], value) for name, value in cell.state_dict().items())


@pytest.mark.parametrize(
    ("cell", "names", "message"),
    [
        (LSTM(3, 4), {"U": "ortogonal"}, "unknown initialiser 'ortogonal'; did you mean 'orthogonal'"),
        (LSTM(3, 4), {"W": "identity"}, r"shape \(4, 3\) cannot start as the identity"),
        (Jordan(3, 4, 2), {"U": "identity"}, r"shape \(4, 2\) cannot start as the identity"),
        (IndRNN(3, 4), {"U": "orthogonal"}, "U of IndRNN is one weight per unit.*use uniform or zeros"),
        (IndRNN(3, 4), {"U": "identity"}, "not a matrix that could start 'identity'"),
        (MinGRU(3, 4), {"U": "zeros"}, "MinGRU has no weights U"),
        (SRU(3, 4), {"U": "zeros"}, "SRU has no weights U"),
        (torch.nn.Linear(3, 4), {"W": "zeros"}, "Linear has no weights W"),
    ],
)
def test_what_cannot_be_is_said(cell, names, message):
    with pytest.raises(ConfigError, match=message):
        initialise(cell, **names)
