"""Large matrix products, each by the faster of the ways that torch has on this processor.

``torch.mm`` is MKL on x86, which keeps its fastest code for Intel: on an AMD Zen 5 it reaches 95 to 186 GF/s in float32
where oneDNN reaches 360 on the same product. On Intel neither is ahead by more than a few per cent, and ``torch.mm``
costs less per call. The choice depends on shape, type and vendor alone and never on a clock: bits must repeat.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from recurra.engine.processor import processor

__all__ = ["accumulate", "multiply", "on_the_cpu", "prefers_onednn", "product"]

ONEDNN_FROM: dict[str, float] = {
    "GenuineIntel": math.inf,
    "AuthenticAMD": 2**21,
    "HygonGenuine": 2**21,  # a licensed Zen
}
"""By vendor, the multiply-adds from which oneDNN is the faster way; elsewhere, as on ARM, torch.mm sees to that."""

NARROWEST = 8
"""Sides below which a product is bound by memory, and the costlier call is all that oneDNN would add."""


def product(x: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
    """Compute what ``torch.nn.functional.linear`` does: ``y = x Wᵀ + b``.

    Args:
        x: (..., K), any strides.
        W: (N, K).
        b: (N,), or None.
    Returns: (..., N).
    Gradient: of any order, into x, W and b; ``dx = dy W``, ``dW = dyᵀ x`` and ``db = Σ dy`` only where they are wanted.
    """
    rows = x.numel() // max(x.shape[-1], 1)
    if not prefers_onednn(rows, len(W), x.shape[-1], x.dtype):
        return linear(x, W, b)
    if not (on_the_cpu(x, W) if b is None else on_the_cpu(x, W, b)):
        return linear(x, W, b)
    y: Tensor = _Product.apply(x.reshape(rows, x.shape[-1]), W, b)
    return y.view(*x.shape[:-1], len(W))


def prefers_onednn(rows: int, columns: int, depth: int, dtype: torch.dtype, vendor: str | None = None) -> bool:
    """Whether oneDNN is the faster way to (rows, depth) times (depth, columns); vendor: default, this machine's."""
    least = ONEDNN_FROM.get(processor().vendor if vendor is None else vendor, math.inf)
    return (
        rows * columns * depth >= least
        and dtype is torch.float32
        and min(rows, columns, depth) >= NARROWEST
        and _LINEAR is not None
        and bool(torch.backends.mkldnn.enabled)
    )


def on_the_cpu(*tensors: Tensor) -> bool:
    """Whether tensors are dense, on the CPU, all float32 or all float64, and nothing rewrites what is done to them.

    Autocasting, `torch.compile` and the transformations of `torch.func` know operations of torch, not functions with a
    gradient of their own.
    """
    dtype = tensors[0].dtype
    return (
        dtype in (torch.float32, torch.float64)
        and all(t.dtype == dtype and t.device.type == "cpu" and t.layout is torch.strided for t in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def multiply(a: Tensor, b: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Return ``a bᵀ + bias`` (M, N) of dense CPU tensors a (M, K), b (N, K) and bias (N,), in strides that suit.

    Without `out`, where it is written, the result's rows may be columns in memory. Gradient: none; `product` has one.
    """
    if out is not None:
        if prefers_onednn(len(a), len(b), a.shape[1], a.dtype):
            return out.copy_(_by_onednn(a, b, bias))
        return torch.mm(a, b.t(), out=out) if bias is None else torch.addmm(bias, a, b.t(), out=out)
    if prefers_onednn(len(a), len(b), a.shape[1], a.dtype):
        return _by_onednn(a, b, bias)
    return torch.mm(a, b.t()) if bias is None else torch.addmm(bias, a, b.t())


def accumulate(total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """Return ``total + a bᵀ``, in the memory of the total if there is one; arguments as `multiply`."""
    if total is None:
        return multiply(a, b)
    if prefers_onednn(len(a), len(b), a.shape[1], a.dtype):
        return total.add_(_by_onednn(a, b))
    return total.addmm_(a, b.t())


_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _by_onednn(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """`multiply` by the operation that `torch.compile` uses for a linear layer; it packs nothing and keeps nothing."""
    # It copies a first operand whose rows are not contiguous, so of two transposed ones the smaller goes first.
    if bias is None and a.t().is_contiguous() and (b.is_contiguous() or len(b) < len(a)):
        return _by_onednn(b, a).t()
    if not (b.is_contiguous() or b.t().is_contiguous()):
        b = b.contiguous()  # other strides run on oneDNN's reference code, a thousand times slower
    result: Tensor = _LINEAR(a, b, None if bias is None else bias.contiguous(), "none", [], "")
    return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, W)
        return _by_onednn(x, W, b)

    @staticmethod
    def backward(ctx: Any, *dy: Tensor) -> tuple[Tensor | None, ...]:
        (x, W), (d,) = ctx.saved_tensors, dy
        # Each is a product of the same form again, which gives gradients of gradients.
        dx, dW, db = ctx.needs_input_grad
        return (
            product(d, W.t()) if dx else None,
            product(d.t(), x.t()) if dW else None,
            d.sum(0) if db else None,
        )
