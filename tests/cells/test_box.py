"""What is particular to single cells: how they start, what they refuse, and where they are each other."""

from __future__ import annotations

import math

import pytest
import torch

from recurra.cells import (
    LSTM,
    RGLRU,
    SLSTM,
    SRU,
    UGRNN,
    CoupledLSTM,
    IndRNN,
    LayerNormGRU,
    MinLSTM,
    MogrifierLSTM,
    PeepholeLSTM,
)
from recurra.engine import scan
from recurra.errors import ConfigError, ShapeError
from recurra.testing import TOLERANCES

T, B, I, H = 7, 3, 4, 6
FLOAT64 = {"dtype": torch.float64}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def close(found, expected):
    torch.testing.assert_close(found, expected, **TOLERANCES[torch.float64])


@pytest.mark.parametrize(
    ("make", "gate"),
    [(CoupledLSTM, 0), (MogrifierLSTM, 1), (PeepholeLSTM, 1), (SLSTM, 1), (UGRNN, 0)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_forget_bias_is_that_of_its_gate_alone(make, gate):
    bias = make(I, H, forget_bias=5.0).b.detach().view(-1, H)
    assert bias[gate].tolist() == [5.0] * H
    others = torch.cat([bias[:gate], bias[gate + 1 :]]).abs()
    assert 0 < others.max() <= H**-0.5


@pytest.mark.parametrize(
    "make", [lambda: PeepholeLSTM(I, H, **FLOAT64), lambda: MogrifierLSTM(I, H, rounds=0, **FLOAT64)]
)
def test_without_what_is_added_it_is_the_lstm(make):
    cell, plain = make(), LSTM(I, H, **FLOAT64)
    if isinstance(cell, PeepholeLSTM):
        torch.nn.init.zeros_(cell.p)
    names = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0"}
    shared = {name: value for name, value in cell.state_dict().items() if name in names}
    plain.load_state_dict({**shared, "bias_hh_l0": torch.zeros(4 * H)})
    x = torch.randn(T, B, I, **FLOAT64)
    close(scan(cell, x)[0], scan(plain, x)[0])


def test_mogrifier_matrices_are_of_the_rounds_and_the_rank():
    shapes = {name: tuple(value.shape) for name, value in MogrifierLSTM(I, H, rounds=3, rank=2).named_parameters()}
    assert {name: shape for name, shape in shapes.items() if "mog" in name} == {
        "weight_mog1_l0": (I, 2),
        "weight_mog1_in_l0": (2, H),
        "weight_mog2_l0": (H, 2),
        "weight_mog2_in_l0": (2, I),
        "weight_mog3_l0": (I, 2),
        "weight_mog3_in_l0": (2, H),
    }


def test_layer_norm_gru_starts_with_plain_normalisation():
    cell = LayerNormGRU(I, H)
    assert cell.weight_norm_ih_l0.tolist() == cell.weight_norm_hh_l0.tolist() == [1.0] * 3 * H
    assert not cell.b.any()
    assert not cell.b_U.any()


def test_indrnn_starts_within_its_bound():
    cell = IndRNN(I, 1000, bound=2 ** (1 / 5))
    assert cell.u.min() >= 0
    assert 0.98 * 2 ** (1 / 5) < cell.u.max() <= 2 ** (1 / 5)


def test_indrnn_units_do_not_see_each_other():
    cell = IndRNN(I, H, **FLOAT64)
    state = cell.zero_state(1)
    jacobian = torch.autograd.functional.jacobian(
        lambda h: cell.step(torch.ones(1, I, **FLOAT64), type(state)(h))[0], state.h
    )
    assert torch.equal(jacobian.view(H, H), jacobian.view(H, H).diag().diag())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rglru_keeps_at_first_what_the_paper_says(dtype):
    cell = RGLRU(I, 1000, dtype=dtype)
    kept = torch.sigmoid(cell.Lambda.detach().double()) ** 8
    slack = TOLERANCES[dtype]["rtol"]
    assert 0.9 - slack < kept.min() < 0.91
    assert 0.99 < kept.max() < 0.999 + slack


def test_rglru_keeps_the_variance_of_its_input():
    """Of white noise comes white noise of the same variance, however much is kept: that is what √(1 - a²) is for."""
    cell = RGLRU(500, 500, **FLOAT64)
    torch.nn.init.zeros_(cell.W)
    cell.b.data[:500], cell.b.data[500:] = 0.0, 50.0  # r = ½, i = 1
    outputs, _ = scan(cell, torch.randn(500, 4, 500, **FLOAT64))
    assert 0.9 < outputs[200:].var() < 1.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rglru_has_gradients_where_its_gate_is_shut(dtype):
    cell = RGLRU(I, I, dtype=dtype)
    torch.nn.init.constant_(cell.b[:I], -1e4)
    x = torch.randn(T, B, I, dtype=dtype, requires_grad=True)
    outputs, _ = scan(cell, x)
    assert outputs.abs().max() < 1e-10
    outputs.sum().backward()
    for gradient in (x.grad, *(parameter.grad for parameter in cell.parameters())):
        assert gradient.isfinite().all()


def test_minlstm_shares_out_one_where_both_gates_are_shut():
    cell = MinLSTM(1, 1)
    cell.W.data.zero_()
    cell.b.data = torch.tensor([-1000.0, -1000.0, 0.0])
    h, _ = cell.step(torch.zeros(1, 1), type(cell.zero_state(1))(torch.tensor([[3.0]])))
    assert h.item() == pytest.approx((3.0 + 0.5) / 2)


def test_sru_starts_as_in_the_authors_code():
    cell = SRU(300, 200, highway_bias=-1.0)
    assert cell.b.tolist() == [0.0] * 200 + [-1.0] * 200
    assert cell.v.var().item() == pytest.approx(0.5, rel=0.2)
    alpha = math.sqrt(1 + 2 * math.exp(-1))
    variances = [block.var().item() * 300 for block in cell.W.split(200)]
    assert variances == pytest.approx([0.5, 0.5, 1.0, alpha**2], rel=0.05)


def test_sru_passes_its_input_on_where_the_highway_is_open():
    cell = SRU(H, H, highway_bias=-50.0)
    x = torch.randn(T, B, H)
    torch.testing.assert_close(scan(cell, x)[0], x)


class TestSLSTM:
    def test_first_output_is_the_candidate_alone(self):
        cell, x = SLSTM(I, H, **FLOAT64), torch.randn(B, I, **FLOAT64)
        _, _, z, o = torch.nn.functional.linear(x, cell.W, cell.b).chunk(4, -1)
        output, state = cell.step(x, cell.zero_state(B))
        close(output, o.sigmoid() * z.tanh())
        assert torch.equal(state.n, torch.ones_like(state.n))

    @pytest.mark.parametrize("m", [-500.0, -3.0, 0.0])
    def test_first_output_does_not_depend_on_the_first_m(self, m):
        cell, x = SLSTM(I, H, **FLOAT64), torch.randn(T, B, I, **FLOAT64)
        state = cell.zero_state(B)
        close(scan(cell, x, state._replace(m=torch.full_like(state.m, m)))[0], scan(cell, x, state)[0])

    @pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
    def test_normaliser_is_never_below_one(self, scale):
        cell, x = SLSTM(I, H), scale * torch.randn(20, B, I)
        x.requires_grad_()
        state = cell.zero_state(B)
        outputs = []
        for at_t in x:
            output, state = cell.step(at_t, state)
            outputs.append(output)
            assert (state.n >= 1).all()
        stacked = torch.stack(outputs)
        assert (stacked.abs() <= 1).all()
        stacked.sum().backward()
        assert x.grad.isfinite().all()

    def test_heads_do_not_see_each_other(self):
        cell, x = SLSTM(I, H, heads=2, **FLOAT64), torch.randn(T, B, I, **FLOAT64)
        before, _ = scan(cell, x)
        cell.U.data[1] += 1
        after, _ = scan(cell, x)
        assert torch.equal(before[..., : H // 2], after[..., : H // 2])
        assert not torch.isclose(before[1:, :, H // 2 :], after[1:, :, H // 2 :]).any()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SLSTM(I, H, heads=4), ShapeError, "heads must divide hidden_size=6; 4 does not"),
        (lambda: SLSTM(I, H, heads=0), ShapeError, "heads must divide hidden_size=6; 0 does not"),
        (lambda: IndRNN(I, H, bound=0.0), ConfigError, "'bound' must be positive, not 0.0"),
        (lambda: IndRNN(I, H, bound=math.nan), ConfigError, "'bound' must be positive, not nan"),
        (lambda: MogrifierLSTM(I, H, rounds=-1), ConfigError, "'rounds' must be at least 0, not -1"),
        (lambda: MogrifierLSTM(I, H, rank=0), ConfigError, "'rank' must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_is_said(make, error, message):
    with pytest.raises(error, match=message):
        make()
