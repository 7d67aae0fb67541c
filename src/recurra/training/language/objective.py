"""What training minimises: the loss per token, and what regularises the activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.data import NOTHING, Batch
from recurra.engine import Checkpointed, Schedule, unroll
from recurra.engine.policy import slice_time
from recurra.layers import weight_drop
from recurra.models import LanguageModel
from recurra.training.task import Objective

if TYPE_CHECKING:
    from recurra.training.config import TrainingConfig

__all__ = ["check_policy", "objective"]


def objective(model: LanguageModel, config: TrainingConfig, batch: Batch, state: Any) -> Objective:
    """Read a window and return what is minimised, the mean nats per predicted token, and the state to carry.

        loss = nats + α · mean(dropped h²) + β · mean((h_t - h_{t-1})²)        α = ar, β = tar

    Embedding, layers and loss are unrolled together, as the policy says: what it recomputes is computed piece by piece,
    and nothing of the window's length is ever held but tokens.

    Args:
        batch: T steps, B rows; a target of -1 is nothing to predict.
        state: carried state of B rows, or None for a fresh one.
    Gradient: into the parameters and the given state.
    Source: AR and TAR Merity, McCann & Socher 2017.
    """
    segment, sequence, start = _unrolling(model, config, batch, state)
    policy, steps = config.policy.within[0], len(batch.inputs)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sums, carried = [], start
    for a, b in ((0, batch.advance), (batch.advance, steps)):
        if a < b:
            piece, end = unroll(segment, slice_time(sequence, a, b), start, policy, lambda: parameters)
            sums.append(piece)
            start = end
        if b == batch.advance:
            carried = start
    nats, penalty = (total if len(sums) == 1 else total + sums[1][n] for n, total in enumerate(sums[0]))
    # At least 1: a window may have no target, at the very end of a corpus.
    nats = nats / torch.clamp(_count(config, batch, sequence[1]), min=1)
    loss = nats + penalty if config.ar or config.tar else nats
    return Objective(loss, nats.detach(), carried[0])


def check_policy(model: LanguageModel, config: TrainingConfig, batch: Batch) -> Schedule | None:
    """Find out whether a model can be differentiated as its settings say.

    Returns: what a window like this costs in memory and recomputation, where the policy keeps to a budget.
    Raises: BackpropError if it cannot, or not within the budget.
    """
    (loss, scans), stack = config.policy.within, model.stack
    scans.check_layers(stack.num_states)
    if stack.num_layers == 1:
        with torch.random.fork_rng():
            cell = weight_drop(stack.cells[0], stack.weight_drop) if stack.weight_drop else stack.cells[0]
        scans.check(cell, model.embedding.weight.new_zeros(1, 1, model.embedding.embedding_dim))
    if not isinstance(loss, Checkpointed):
        return None
    with torch.random.fork_rng(), torch.enable_grad():
        segment, sequence, start = _unrolling(model, config, batch, None)
        return loss.plan(segment, sequence, start, lambda: list(model.parameters()))


def _unrolling(
    model: LanguageModel, config: TrainingConfig, batch: Batch, state: Any
) -> tuple[Callable[[Any, Any], tuple[Any, Any]], Any, Any]:
    """Return the function of a piece of the window and the state before it, the window, and the state at its start.

    The function gives sums: of nats, and of what is added to the mean loss.
    """
    policy = config.policy.within[1]
    backends = config.backends if len(config.backends) > 1 else config.backend
    tokens, targets, (steps, rows) = batch.inputs, batch.targets, batch.inputs.shape
    if config.predict == "last":
        targets = torch.where(torch.arange(steps, device=targets.device).unsqueeze(1) == steps - 1, targets, NOTHING)
    noise = model.draw(rows)
    numbers = (batch.share.rows if batch.share else rows) * model.output_size
    # 0 where there is no step before to differ from
    follows = torch.ones(steps, device=tokens.device)
    follows[0] = 0

    def segment(piece: Any, carried: Any) -> tuple[Any, Any]:
        tokens, targets, reset, follows = piece
        state, before = carried
        features, state = model.features(tokens, state, reset=reset, backprop=policy, backend=backends, noise=noise)
        raw, dropped = features
        nats, penalty = _nats(model, dropped, targets), raw.new_zeros(())
        if config.ar:
            penalty = penalty + config.ar * dropped.square().sum() / (steps * numbers)
        if config.tar and steps > 1:
            changes = raw - torch.cat([before.unsqueeze(0), raw[:-1]])
            squares = changes.square().sum((1, 2)) * follows
            penalty = penalty + config.tar * squares.sum() / ((steps - 1) * numbers)
        return (nats, penalty), (state, raw[-1] if config.tar else before)

    start = model.zero_state(rows) if state is None else state
    before = model.embedding.weight.new_zeros(rows, model.output_size, requires_grad=False)
    return segment, (tokens, targets, batch.reset, follows), (start, before)


def _count(config: TrainingConfig, batch: Batch, targets: Tensor) -> Tensor:
    """Return how many targets count, in all rows of the window, whoever reads them."""
    if batch.counted is None:
        return (targets != NOTHING).sum()
    return batch.counted[-1] if config.predict == "last" else batch.counted.sum()


def _nats(model: LanguageModel, features: Tensor, targets: Tensor) -> Tensor:
    """Return the summed nats of features (T, B, O), leaving out steps at which no row has a target."""
    counted = (targets != NOTHING).any(1)
    if not bool(counted.all()):
        features, targets = features[counted], targets[counted]
    return model.nats(features, targets)
