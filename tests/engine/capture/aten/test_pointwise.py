"""Pointwise operations: what is compiled equals the loop, at the points where derivatives jump as well."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

# Several functions share a cell, for the sake of time; each gets a channel's weight of its own.
GROUPS = {
    "arithmetic": [
        lambda a: a + 0.5,
        lambda a: torch.add(a, a.abs(), alpha=0.5),
        lambda a: 1 - a,
        lambda a: torch.rsub(a, a * a, alpha=2),
        lambda a: torch.sub(a, 2.0, alpha=0.3),
        lambda a: a / (1 + a * a),
        lambda a: -a,
        lambda a: 1 / (a * a + 1),
    ],
    "powers": [
        lambda a: a**2,
        lambda a: a**3,
        lambda a: (a * a + 0.1) ** 0.5,
        lambda a: (a * a + 1) ** -1.5,
        torch.square,
        lambda a: 0.5 ** torch.sigmoid(a),
        lambda a: torch.exp2(-a * a),
    ],
    "bounds": [
        lambda a: torch.minimum(a, a * a),
        lambda a: torch.maximum(a, torch.zeros_like(a)),
        lambda a: a.clamp(-0.5, 1),
        lambda a: a.clamp(min=-1),
        lambda a: a.clamp_max(0.5),
        lambda a: F.hardtanh(a),
        F.relu6,
        torch.abs,
    ],
    "choices": [
        lambda a: torch.where(a > 0.1, a, a * a),
        lambda a: a * (a >= 0),
        lambda a: a * (a < 0).to(a.dtype),
        lambda a: torch.where((a > -1) & ~(a <= 0.5) | (a == 0), a, 0.5),
        lambda a: torch.where((a > 0) ^ (a != 1), a, -a),
        lambda a: a.masked_fill(a > 0.5, 0.1),
        lambda a: a * torch.sign(a),
        torch.nan_to_num,
        lambda a: torch.where(torch.isfinite(a), a, 0.0),
    ],
    "exponentials": [
        lambda a: torch.exp(-a.abs()),
        lambda a: torch.expm1(a / 3),
        lambda a: torch.log(a * a + 0.5),
        lambda a: torch.log1p(a.abs()),
        lambda a: torch.log2(a * a + 1),
        lambda a: torch.log10(a * a + 1),
        lambda a: torch.sqrt(a * a + 0.1),
        lambda a: torch.rsqrt(a.abs() + 1),
        lambda a: torch.logaddexp(a, a * a),
    ],
    "sigmoids": [
        torch.sigmoid,
        torch.tanh,
        torch.erf,
        torch.erfc,
        F.softsign,
        F.logsigmoid,
        lambda a: F.softplus(a, beta=2.0),
        F.tanhshrink,
        lambda a: torch.logit(torch.sigmoid(a)),
    ],
    "rectifiers": [
        torch.relu,
        F.leaky_relu,
        lambda a: F.elu(a, alpha=0.7),
        F.selu,
        lambda a: F.threshold(a, 0.1, 0.05),
        lambda a: F.softshrink(a, 0.2),
        lambda a: F.hardshrink(a, 0.2),
    ],
    "smooth rectifiers": [F.silu, F.gelu, lambda a: F.gelu(a, approximate="tanh"), F.mish],
    "blends": [
        lambda a: torch.lerp(a, torch.tanh(a), 0.3),
        lambda a: torch.lerp(a, torch.tanh(a), torch.sigmoid(a)),
        lambda a: torch.addcmul(a, a, torch.tanh(a), value=0.5),
        lambda a: torch.addcdiv(a, a, torch.exp(-a * a), value=0.1),
    ],
}

# each number exactly where some function has a kink, and beside it
KINKS = torch.tensor([-7.0, -3.0, -1.0, -0.5, -0.2, 0.0, 0.1, 0.2, 0.5, 1.0, 3.0, 6.0], dtype=torch.float64)


def blend(functions):
    """A step that adds up functions of the state; tanh keeps it within bounds."""

    def step(cell, a, h):
        total = sum((n + 1) / 10 * function(a) for n, function in enumerate(functions))
        return total, torch.tanh(total)

    return step


@pytest.mark.parametrize("name", GROUPS)
def test_functions(agrees, name):
    agrees(blend(GROUPS[name]))


@pytest.mark.parametrize("name", GROUPS)
def test_functions_where_derivatives_jump(agrees, name):
    agrees(blend(GROUPS[name]), inputs=KINKS.view(1, 2, 6))


@pytest.mark.parametrize("function", [F.hardsigmoid, F.hardswish, F.celu], ids=lambda f: f.__name__)
def test_functions_of_which_torch_has_constants_in_single_precision(small_cell, function):
    from recurra.engine import explain

    assert explain(small_cell(lambda cell, a, h: torch.tanh(function(a)))).path == "llvm"


def test_parameters_per_channel_and_alone(agrees):
    def step(cell, a, h):
        gate = torch.sigmoid(cell.p) * cell.s
        constant = torch.tensor(0.3) * torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], dtype=torch.float64)
        mean = cell.p.mean() + cell.U.norm() / 10  # computed from parameters by what the loop does not know
        return torch.lerp(h, torch.tanh(a * mean), gate) + constant + cell.U[0] * 0.1

    agrees(step)


def test_bounds_and_choices_by_parameters(agrees):
    def step(cell, a, h):
        chosen = torch.where(cell.p > 0.5, a, h)
        return torch.clamp(chosen, -cell.p, cell.p) + torch.clamp(a, min=cell.p).tanh()

    agrees(step)


def test_a_truth_value_that_the_backward_pass_reads(agrees):
    agrees(lambda cell, a, h: torch.where((h @ cell.U > 0) & (a > 0), torch.tanh(a), h * 0.5))


def test_modules_of_torch_inside(agrees):
    agrees(lambda cell, a, h: torch.tanh(cell["prelu"](cell["gelu"](cell["linear"](a)))))


@pytest.mark.parametrize(
    "function", [torch.sin, torch.atan, torch.floor, lambda a: a ** torch.sigmoid(a), lambda a: a % 1.0]
)
def test_functions_that_are_not_known_are_named(why_not, function):
    reason = why_not(lambda cell, a, h: torch.tanh(function(a)))
    assert "does not know aten." in reason
    assert "test_pointwise.py:" in reason


def test_random_numbers(why_not):
    reason = why_not(lambda cell, a, h: F.dropout(torch.tanh(a), 0.5, training=True))
    assert "random numbers" in reason
    assert "test_pointwise.py:" in reason


def test_dropout_that_does_nothing(agrees):
    agrees(lambda cell, a, h: F.dropout(torch.tanh(a), 0.5, training=False))
