"""Random truncation with reweighting has the gradient of full back-propagation as its mean; without, it has not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from recurra.cells import CELLS, LSTM
from recurra.engine import Full, Truncated, Unbiased, choose_path, scan
from recurra.engine.policy import Policy
from recurra.errors import EngineError
from recurra.testing import TOLERANCES

STEPS, ROWS, SCANS = 24, 100, 200
LIMIT = 4
"""Standard errors."""


def groups(gradients, size):
    """Return the gradients of each gate's weights by inputs and by the state, and its biases, as rows of a matrix."""
    return [block for gradient in gradients for block in gradient.reshape(4, -1)]


def mean_gradients(policy, cell, x):
    """Yield, for each of many scans of rows that are all alike, the mean gradient of a row in groups."""
    x = x.expand(STEPS, ROWS, -1)
    weights = torch.linspace(0, 1, STEPS, dtype=x.dtype).reshape(-1, 1, 1)
    for seed in range(SCANS):
        torch.manual_seed(seed)
        outputs, _ = scan(cell, x, backprop=policy)
        found = torch.autograd.grad((weights * outputs).sum() / ROWS, list(cell.parameters()))
        yield groups(found, 4)


def largest_error(policy):
    """Return, in standard errors, the largest difference of a group's mean gradient to that of `Full`.

    Each group is looked at in the direction of its full gradient and in two random ones.
    """
    torch.manual_seed(0)
    cell, x = LSTM(2, 4).double(), torch.randn(STEPS, 1, 2, dtype=torch.float64)
    with torch.no_grad():
        cell.weight_hh_l0.mul_(2)  # a memory in which the far past counts
    full = next(mean_gradients(Full(), cell, x))
    directions = [torch.stack([g, *torch.randn(2, len(g), dtype=g.dtype)]) for g in full]
    seen = torch.stack([
        torch.cat([d @ g for d, g in zip(directions, drawn, strict=True)]) for drawn in mean_gradients(policy, cell, x)
    ])  # fmt: skip
    expected = torch.cat([d @ g for d, g in zip(directions, full, strict=True)])
    errors = (seen.mean(0) - expected).abs() / (seen.std(0) / math.sqrt(SCANS) + 1e-12)
    return float(errors.max())


@dataclass(frozen=True)
class WithoutWeights(Policy):
    """The same cuts, and no weights."""

    policy: Policy
    span: int = 1

    def gate(self, steps, rows):
        return (self.policy.gate(steps, rows) != 0).double()


@pytest.mark.parametrize("policy", [Unbiased(6), Unbiased(10, alpha=6.0)], ids=str)
def test_the_mean_gradient_is_that_of_full(policy):
    assert largest_error(policy) < LIMIT


@pytest.mark.parametrize("policy", [Truncated(6), WithoutWeights(Unbiased(6))], ids=["window", "random cuts"])
def test_plain_truncation_fails_the_same_test(policy):
    assert largest_error(policy) > 5 * LIMIT


def test_factors_have_a_mean_of_one_and_cuts_are_as_frequent_as_the_schedule_says():
    policy, rows = Unbiased(5), 40_000
    torch.manual_seed(0)
    gate = policy.gate(12, rows).double()
    mean, error = gate.mean(1), gate.std(1) / math.sqrt(rows)
    assert torch.all((mean - 1).abs() <= LIMIT * error + 1e-6)
    assert torch.equal(gate[0], torch.ones(rows))
    cut = 3 / (2 * 5 + 1)  # (α - 1) / ((α - 2) n + 1), at the first step that can be cut
    assert abs(float((gate[1] == 0).double().mean()) - cut) < 0.01


def test_segments_have_the_mean_length_and_the_tail():
    policy = Unbiased(50)
    found = np.array([b - a for a, _, b in policy.spans(4_000_000, np.random.default_rng(0))][:-1])
    assert abs(found.mean() - 50) < 1.5
    longer = (found > 200).mean()
    assert longer == pytest.approx(math.exp(policy.log_survival(200)[-1]), rel=0.1)


def test_weights_of_long_paths_are_finite_logarithms():
    policy = Unbiased(50)
    assert policy.log_weight(10**6) == pytest.approx(3 * math.log(1 + 10**6 / 100), rel=0.01)
    assert policy.log_weight(0) == 0


@pytest.mark.parametrize("name", CELLS)
def test_every_backend_scales_gradients_alike(name):
    torch.manual_seed(0)
    cell, x = CELLS[name](3, 3), torch.randn(15, 3, 3, requires_grad=True)
    reset, lengths = torch.rand(15, 3) < 0.1, torch.tensor([15, 9, 0])
    found = {}
    for backend in ("loop", "llvm", "library"):
        try:
            choose_path(cell, x, cell.zero_state(3), backend)
        except EngineError:
            continue
        torch.manual_seed(1)
        outputs, _ = scan(cell, x, backprop=Unbiased(4), backend=backend, reset=reset, lengths=lengths)
        found[backend] = torch.autograd.grad(outputs.square().sum(), [x, *cell.parameters()], allow_unused=True)
    for backend, gradients in found.items():
        for a, b in zip(gradients, found["loop"], strict=True):
            torch.testing.assert_close(a, b, **TOLERANCES[torch.float32], msg=lambda m, by=backend: f"{by}: {m}")
    torch.manual_seed(1)
    outputs, _ = scan(cell, x, reset=reset, lengths=lengths)
    full = torch.autograd.grad(outputs.square().sum(), x)[0]
    assert not torch.allclose(full, found["loop"][0])


def test_gradients_of_gradients_are_scaled_too():
    torch.manual_seed(0)
    cell, x = LSTM(2, 3).double(), torch.randn(9, 2, 2, dtype=torch.float64, requires_grad=True)
    found = []
    for backend in ("loop", "llvm"):
        torch.manual_seed(1)
        outputs, _ = scan(cell, x, backprop=Unbiased(4), backend=backend)
        slope = torch.autograd.grad(outputs.square().sum(), cell.weight_hh_l0, create_graph=True)[0]
        found.append(torch.autograd.grad(slope.sum(), x)[0])
    torch.testing.assert_close(*found, **TOLERANCES[torch.float64])


def test_a_span_of_a_stream_is_one_segment_between_cuts():
    inside = Unbiased(10).within[1]
    gate = inside.gate(30, 2).double()
    assert torch.all(gate[0] == 1)
    assert torch.all(gate[1:] > 1)
    weight = float(gate[:, 0].log().sum())
    assert weight == pytest.approx(Unbiased(10).log_weight(29), rel=1e-5)
