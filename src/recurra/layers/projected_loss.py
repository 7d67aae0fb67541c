"""The output layer and its loss in one: no tensor of all rows times all classes is ever made."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from recurra.engine.products import accumulate, multiply, on_the_cpu, product
from recurra.errors import ShapeError

__all__ = ["projected_cross_entropy", "row_pieces"]

FEW_LOGITS = 2**18
"""Logits of all rows, 1 MiB in float32, below which torch's own passes over them cost less than ours do to start."""

LOGITS_AT_ONCE = 2**20
"""Logits that are held together, 4 MiB in float32: about what stays in a core's cache between two passes over them."""


def projected_cross_entropy(
    features: Tensor, W: Tensor, b: Tensor | None, targets: Tensor, ignore_index: int = -1
) -> Tensor:
    """Return the sum of nats of targets under a softmax of projected features.

        nats = Σ_n  ln Σ_v exp z_nv - z_n,target(n),    z = features Wᵀ + b

    It is ``cross_entropy(linear(features, W, b), targets, reduction="sum")``, computed piece by piece over rows, and
    the gradient ``softmax(z) - onehot(target)`` and its products in the same pass, so that backward only scales them.
    Few logits, other devices than a CPU, and other types than float32 and float64 are computed as written.

    Args:
        features: (N, O) float.
        W, b: (V, O) weights and (V,) biases, or None for no biases.
        targets: (N,) int64; rows with `ignore_index` count nothing.
    Returns: () nats; 0 if nothing counts.
    Raises: ShapeError if there is not one target per row.
    Gradient: into features, W and b. A second backward, and gradients of gradients, compute the loss anew.
    Source: in one pass Hsu et al. 2024 (Liger kernels); the memory of logits Wijmans et al. 2024 (cut cross-entropy).
    """
    if features.ndim != 2 or targets.shape != features.shape[:1]:
        raise ShapeError(f"features are {tuple(features.shape)}, targets {tuple(targets.shape)}; give (N, O) and (N,)")
    parameters = [features, W] if b is None else [features, W, b]
    if len(features) * len(W) < FEW_LOGITS or not on_the_cpu(*parameters):
        return _at_once(features, W, b, targets, ignore_index)
    if torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
        nats: Tensor = _ProjectedCrossEntropy.apply(features, W, b, targets, ignore_index)
        return nats
    return _by_pieces(features, W, b, targets, ignore_index, (False, False, False))[0]


def row_pieces(rows: int, classes: int, features: int) -> list[slice]:
    """Cut N rows into equal pieces whose logits (n, V) fit a cache or are no larger than the weights (V, O).

    With at least as many rows as features, reading and writing the weights' gradient once per piece is hidden behind
    the arithmetic. There is always a piece, if only an empty one.
    """
    most = max(LOGITS_AT_ONCE // max(classes, 1), features, 1)
    count = max(1, -(-rows // most))
    return [slice(*piece) for piece in pairwise(rows * k // count for k in range(count + 1))]


def _at_once(features: Tensor, W: Tensor, b: Tensor | None, targets: Tensor, ignore_index: int) -> Tensor:
    return cross_entropy(product(features, W, b), targets, ignore_index=ignore_index, reduction="sum")


def _by_pieces(
    features: Tensor, W: Tensor, b: Tensor | None, targets: Tensor, ignore_index: int, wanted: tuple[bool, ...]
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the loss and its gradients into features, W and b, as far as they are wanted."""
    counted = targets != ignore_index
    targets = torch.where(counted, targets, 0).unsqueeze(1)
    into_features, into_W, into_b = wanted
    nats, dx, dW, db = features.new_zeros(()), [], None, None
    for piece in row_pieces(len(features), *W.shape):
        x, target, counts = features[piece], targets[piece], counted[piece]
        z = multiply(x, W, b)
        # In place: each row is read before it is written.
        log_p = torch.log_softmax(z, 1, out=z)
        nats -= torch.where(counts, log_p.gather(1, target).squeeze(1), 0).sum()
        if not any(wanted):
            continue
        dz = log_p.exp_().scatter_add_(1, target, z.new_full((1, 1), -1).expand_as(target))
        if not counts.all():
            dz[~counts] = 0
        if into_features:
            dx.append(multiply(dz, W.t()))
        if into_W:
            dW = accumulate(dW, dz.t(), x.t())
        if into_b:
            db = dz.sum(0) if db is None else db.add_(dz.sum(0))
        del z, log_p, dz  # before the next piece's are made
    return nats, [(dx[0] if len(dx) == 1 else torch.cat(dx)) if into_features else None, dW, db]


class _ProjectedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, W: Tensor, b: Tensor | None, targets: Tensor, ignore_index: int) -> Tensor:
        ctx.save_for_backward(features, W, b, targets)
        ctx.ignore_index = ignore_index
        nats, ctx.gradients = _by_pieces(features, W, b, targets, ignore_index, ctx.needs_input_grad[:3])
        return nats

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (features, W, b, targets) = grads, ctx.saved_tensors
        gradients, ctx.gradients = ctx.gradients, None
        if torch.is_grad_enabled() or gradients is None:
            return (*_gradients_anew(ctx, features, W, b, targets, grad), None, None)
        # Handed over, not kept: who accumulates them may then take their memory instead of a copy.
        return (*(None if g is None else g.mul_(grad) for g in gradients), None, None)


def _gradients_anew(
    ctx: Any, features: Tensor, W: Tensor, b: Tensor | None, targets: Tensor, grad: Tensor
) -> list[Tensor | None]:
    """Differentiate the loss as torch writes it, for a second backward or for gradients of gradients."""
    inputs, differentiable = (features, W, b), torch.is_grad_enabled()
    wanted = [t for t, needed in zip(inputs, ctx.needs_input_grad, strict=False) if t is not None and needed]
    with torch.enable_grad():
        nats = _at_once(features, W, b, targets, ctx.ignore_index)
        found = iter(torch.autograd.grad(nats, wanted, grad, create_graph=differentiable))
    return [next(found) if needed else None for needed in ctx.needs_input_grad[:3]]
