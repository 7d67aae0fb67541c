"""The roll-out: a cell like others, and the same by the compiled loop as step by step."""

import pytest
import torch

from recurra.cells import make_cell
from recurra.engine import explain, scan
from recurra.layers import Stack
from recurra.models.distributions import DISTRIBUTIONS, Gaussian, spread
from recurra.models.rollout import Rollout, RolloutStep
from recurra.state import map_leaves, named_leaves
from recurra.testing.tolerances import TOLERANCES

CLOSE = TOLERANCES[torch.float32]
T, B, D, K, H = 9, 3, 2, 4, 5
LAGS = (1, 2, 3, 6)


def make(distribution="gaussian", relative=True, seed=0):
    torch.manual_seed(seed)
    width = Rollout.width(LAGS, D, K, relative)
    rollout = Rollout(Stack([make_cell("gru", width, H)]), DISTRIBUTIONS[distribution](), LAGS, D, K, relative)
    for parameter in rollout.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    inputs = RolloutStep(
        torch.randn(T, B, D),
        (torch.arange(T) < 5).float().reshape(T, 1, 1).expand(T, B, 1),
        torch.randn(T, B, K),
        torch.randn(T, B, D),
        torch.ones(T, B, 1),
    )
    return rollout, inputs, rollout.start(torch.randn(6, B, D), None if relative else torch.ones(D))


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_compiled_loop_is_the_fold_of_steps(distribution, relative):
    rollout, inputs, state = make(distribution, relative)
    assert explain(rollout, inputs).path == "llvm"
    with torch.no_grad():
        outputs, end = scan(rollout, inputs, state)
    expected = []
    for t in range(T):
        output, state = rollout.step(map_leaves(lambda leaf, t=t: leaf[t], inputs), state)
        expected.append(output)
    torch.testing.assert_close(outputs, torch.stack(expected), **CLOSE)
    for name, leaf in named_leaves(end).items():
        torch.testing.assert_close(leaf, named_leaves(state)[name], **CLOSE)


def test_gradients_through_what_is_fed_back_are_those_of_the_loop():
    rollout, inputs, state = make()
    found = []
    for backend in ("llvm", "loop"):
        outputs, _ = scan(rollout, inputs, state, backend=backend)
        found.append(torch.autograd.grad(outputs[-1].square().sum(), list(rollout.parameters())))
    for compiled, loop in zip(*found, strict=True):
        torch.testing.assert_close(compiled, loop, **CLOSE)
    assert any(gradient.abs().max() > 0.01 for gradient in found[0])


def test_where_nothing_is_known_it_goes_on_with_what_it_said():
    rollout, inputs, state = make()
    outputs, _ = scan(rollout, inputs, state)
    last, scale, location, width = outputs.reshape(T, B, 4, D).unbind(2)
    own = last + scale * location + inputs.noise * spread(width, scale)
    torch.testing.assert_close(last[1:], torch.where(inputs.known[:-1] > 0, inputs.value[:-1], own[:-1]), **CLOSE)
    hidden = inputs._replace(value=torch.where(inputs.known > 0, inputs.value, float("nan")))
    assert torch.equal(scan(rollout, hidden, state)[0], outputs)


def test_features_are_the_values_so_many_steps_back():
    """By weights that pass one lag through: the forecast of each step is the value that lag before."""
    values = torch.randn(20, 1, 1)
    for number, lag in enumerate(sorted(LAGS[1:], reverse=True)):  # features run from the oldest on
        rollout = Rollout(
            Stack([make_cell("gru", Rollout.width(LAGS, 1, 0, True), H)]), Gaussian(), LAGS, 1, 0, relative=True
        )
        with torch.no_grad():
            rollout.linear.weight[0, number] = 1
        rest = values[6:]
        steps = RolloutStep(rest, torch.ones_like(rest), rest[..., :0], torch.zeros_like(rest), torch.ones_like(rest))
        outputs, _ = scan(rollout, steps, rollout.start(values[:6]))
        last, scale, location, _ = outputs.unbind(2)
        torch.testing.assert_close((last + scale * location).unsqueeze(-1), values[6 - lag : 20 - lag], **CLOSE)


def test_movement_is_forgotten_by_and_by_and_stays_when_nothing_is_observed():
    rollout, inputs, state = make()
    expected = state.movement
    values = torch.cat([state.values.unflatten(1, (D, 6))[..., -1].unsqueeze(0), inputs.value])
    for t in range(5):
        expected = expected + ((values[t + 1] - values[t]).abs() - expected) / 6
    torch.testing.assert_close(scan(rollout, inputs, state)[1].movement, expected, **CLOSE)
