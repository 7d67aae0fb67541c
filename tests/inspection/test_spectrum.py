"""Spectra of weights and Jacobians, against what is computed by hand."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import nn

from recurra.cells import CELLS, GRU, LSTM, SLSTM, Elman, IndRNN
from recurra.data.tokenizers import build_tokenizer
from recurra.errors import ConfigError, CorpusError, EngineError, ShapeError
from recurra.inspection.jacobian import StateMap, diagonal_blocks, spectral_radius
from recurra.inspection.spectrum import measure_spectrum
from recurra.layers import Stack
from recurra.models import LanguageModel
from recurra.testing import TOLERANCES

TOLERANCE = TOLERANCES[torch.float64]
BY_SQUARING = 1e-4
"""Share by which a radius may be off that is found by squaring, as its docstring says."""
TEXT = "the quick brown fox jumps over the lazy dog; the dog sleeps on.\n" * 6


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def model_of(cell="lstm", **settings):
    torch.manual_seed(3)
    tokenizer = build_tokenizer("char", [TEXT])
    model = LanguageModel(tokenizer, cell=cell, hidden=6, layers=2, **settings)
    return model, torch.as_tensor(tokenizer.encode(TEXT)).long()


def assert_close(found, wanted):
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(wanted).to(torch.as_tensor(found)), **TOLERANCE)


@pytest.mark.parametrize("name", sorted(CELLS))
def test_every_cell_of_the_box_is_measured(name):
    model, ids = model_of(name)
    ids = ids[:40]
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    found = measure_spectrum(model.train(), ids, samples=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert [(one.layer, len(one.radii), len(one.norms)) for one in found.jacobians] == [(0, 3, 3), (1, 3, 3)]
    assert all(r <= n * (1 + BY_SQUARING) for one in found.jacobians for r, n in zip(one.radii, one.norms, strict=True))
    assert len(found.lyapunov.exponents) == 8
    json.dumps(asdict(found), allow_nan=False)
    assert measure_spectrum(model, ids, samples=3) == found


def test_blocks_are_named_by_gate_and_are_those_of_U():
    model, ids = model_of("lstm")
    ids = ids[:9]
    found = measure_spectrum(model, ids, samples=1).matrices
    assert [(one.layer, one.name) for one in found] == [(n, f"U_{gate}") for n in range(2) for gate in "ifgo"]
    forget = model.stack.cells[1].U[6:12].double()
    assert_close(found[5].singular_values, torch.linalg.svdvals(forget))
    values = torch.tensor([complex(*pair) for pair in found[5].eigenvalues])
    assert_close(values.abs().sort().values, torch.linalg.eigvals(forget).abs().sort().values)
    assert found[5].radius == pytest.approx(float(values.abs().max()))


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        (Elman(4, 4), ["U"]),
        (GRU(4, 5), ["U_r", "U_z", "U_n"]),
        (IndRNN(4, 5), ["u"]),
        (SLSTM(4, 6, heads=2), ["U_i", "U_f", "U_z", "U_o"]),
        (CELLS["minlstm"](4, 5), []),
        (CELLS["sru"](4, 5), ["v_f", "v_r"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_names_of_blocks(cell, names):
    assert [one.name for one in measure_spectrum(cell, random(9, 4), samples=1).matrices] == names


def test_weights_of_single_units_are_eigenvalues():
    cell = IndRNN(3, 4)
    (found,) = measure_spectrum(cell, random(9, 3), samples=1).matrices
    assert_close([real for real, _ in found.eigenvalues], cell.u.detach().sort(descending=True).values)


def test_heads_are_blocks_of_one_matrix():
    cell = SLSTM(4, 6, heads=2)
    found = measure_spectrum(cell, random(9, 4), samples=1).matrices[1]
    heads = [torch.linalg.eigvals(cell.U[head, 3:6].double()).abs() for head in range(2)]
    assert_close(sorted(abs(complex(*pair)) for pair in found.eigenvalues), torch.cat(heads).sort().values)


class Plain(nn.Module):
    """A user's cell: sizes equal, so only what it does tells W from U."""

    def __init__(self, size):
        super().__init__()
        self.W = nn.Linear(size, size)
        self.U = nn.Linear(size, 2 * size)

    def zero_state(self, batch):
        return self.W.weight.new_zeros(batch, self.W.in_features)

    def step(self, x, state):
        new, gate = self.U(state).chunk(2, -1)
        h = torch.tanh(self.W(x) + torch.sigmoid(gate) * new)
        return h, h


class TorchCell(nn.Module):
    """A user's cell around torch's own."""

    def __init__(self, size):
        super().__init__()
        self.inner = nn.GRUCell(size, size)

    def zero_state(self, batch):
        return self.inner.weight_hh.new_zeros(batch, self.inner.hidden_size)

    def step(self, x, state):
        h = self.inner(x, state)
        return h, h


def test_the_recurrent_weights_of_a_users_cell_are_found_by_what_it_does():
    cell = Stack([Plain(4), TorchCell(4)])
    found = measure_spectrum(cell, random(9, 4), samples=1).matrices
    names = ["U.weight[0]", "U.weight[1]", *(f"inner.weight_hh[{n}]" for n in range(3))]
    assert [one.name for one in found] == names
    assert_close(found[1].singular_values, torch.linalg.svdvals(cell.cells[0].U.weight[4:].double()))


@pytest.mark.parametrize("residual", [False, True])
def test_jacobians_of_layers_are_those_of_their_own_step(residual):
    stack = Stack([LSTM(5, 5), GRU(5, 5)], residual=residual).double()
    x, state = random(1, 5).double(), stack.zero_state(1)
    for _ in range(3):
        _, state = stack.step(x, state)
    step = StateMap(stack, x)
    (whole,) = step.jacobian(x, step.flatten(state))
    h, _ = stack.cells[0].step(x, state[0])
    above = torch.autograd.functional.jacobian(
        lambda s: stack.cells[1].step(h + x if residual else h, type(state[1])(s))[1].h.squeeze(0), state[1].h
    ).squeeze(1)
    assert_close(whole[10:, 10:], above)
    assert not whole[:10, 10:].any()
    directions = random(1, 4, 15).double()
    _, moved = step.push(x, step.flatten(state), directions)
    assert_close(moved, directions @ whole.mT)


def test_radii_and_norms_of_a_linear_cell_are_those_of_its_matrix():
    cell = Elman(3, 6, bias=False)
    found = measure_spectrum(cell, torch.zeros(40, 3), samples=2)
    U = cell.U.detach().double()
    assert found.jacobians[0].radii == pytest.approx([float(torch.linalg.eigvals(U).abs().max())] * 2, rel=BY_SQUARING)
    assert found.jacobians[0].norms == pytest.approx([float(torch.linalg.matrix_norm(U, 2))] * 2)


def test_an_orthogonal_cell_has_jacobians_of_norm_one():
    cell = Elman(3, 6, bias=False, nonlinearity="relu")
    with torch.no_grad():
        cell.U.copy_(torch.eye(6)[[2, 0, 1, 4, 3, 5]])
        cell.W.fill_(1.0)
    found = measure_spectrum(cell, torch.ones(40, 3), samples=2)
    assert found.jacobians[0].radii == pytest.approx([1, 1])
    assert found.jacobians[0].norms == pytest.approx([1, 1])
    assert found.lyapunov.exponents == pytest.approx([0] * 6, abs=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5, 30])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_a_radius_by_squaring_is_that_of_the_eigenvalues(size, scale):
    for seed in range(5):
        matrix = scale * random(size, size, seed=seed).double()
        assert spectral_radius(matrix) == pytest.approx(
            float(torch.linalg.eigvals(matrix).abs().max()), rel=BY_SQUARING
        )


def test_radii_of_matrices_that_are_hard():
    jordan = 0.9 * torch.eye(20).double() + torch.ones(20, 20).double().tril(-1).triu(-1)
    shear = torch.tensor([[1.0, 1e6], [0.0, 1.0]]).double()
    turn = torch.tensor([[0.0, -2.0], [2.0, 0.0]]).double()
    assert spectral_radius(jordan) == pytest.approx(0.9, rel=BY_SQUARING)
    assert spectral_radius(shear) == pytest.approx(1, rel=BY_SQUARING)
    assert spectral_radius(turn) == pytest.approx(2, rel=BY_SQUARING)
    assert spectral_radius(torch.ones(5, 5).double().triu(1)) == 0
    assert spectral_radius(torch.zeros(3, 3).double()) == 0
    assert math.isinf(spectral_radius(torch.full((2, 2), math.nan)))


def test_a_matrix_is_cut_where_it_is_block_triangular():
    matrix = torch.ones(6, 6).tril()
    matrix[1, 2] = matrix[3, 5] = 1
    assert [tuple(block.shape) for block in diagonal_blocks(matrix)] == [(1, 1), (2, 2), (3, 3)]
    assert [tuple(block.shape) for block in diagonal_blocks(torch.ones(3, 3))] == [(3, 3)]


@pytest.mark.parametrize("length", [1, 2, 5, 100])
def test_short_texts(length):
    model, ids = model_of("gru")
    found = measure_spectrum(model, ids[:length])
    json.dumps(asdict(found), allow_nan=False)
    assert len(found.lyapunov.exponents) == 8


def test_a_state_that_overflows_has_no_exponents_and_no_numbers_that_are_none():
    cell = Elman(3, 2, nonlinearity="relu")
    with torch.no_grad():
        cell.U.fill_(1e30)
        cell.W.fill_(1.0)
    found = measure_spectrum(cell, torch.ones(300, 3), samples=2)
    assert found.lyapunov is None
    json.dumps(asdict(found), allow_nan=False)


def test_mistakes_are_told_in_a_line():
    model, ids = model_of()
    with pytest.raises(CorpusError, match="no tokens"):
        measure_spectrum(model, ids[:0])
    with pytest.raises(ShapeError, match=r"tokens \(N,\) int64"):
        measure_spectrum(model, ids.view(2, -1))
    with pytest.raises(ShapeError, match=r"inputs \(N, I\) float"):
        measure_spectrum(GRU(3, 4), torch.zeros(3))
    with pytest.raises(ConfigError, match="samples"):
        measure_spectrum(model, ids, samples=0)
    with pytest.raises(EngineError, match="fails on a fresh state"):
        measure_spectrum(GRU(3, 4), torch.zeros(9, 5))
