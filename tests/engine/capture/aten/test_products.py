"""Products with parameters and reductions of rows: what is compiled equals the loop; what is not says why."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import tanh

PRODUCTS = {
    "mm": lambda c, a, h: tanh(a + tanh(a) @ c.U),
    "transposed": lambda c, a, h: tanh(a + h @ c.U.t()),
    "linear": lambda c, a, h: tanh(F.linear(a, c.U, c.p)),
    "addmm": lambda c, a, h: tanh(torch.addmm(a, h, c.U, beta=0.5, alpha=0.3)),
    "einsum": lambda c, a, h: tanh(torch.einsum("bi,ji->bj", h, c.U) + a),
    "matrix first": lambda c, a, h: tanh((c.U.t() @ h.t()).t() + (c.U @ tanh(a).mT).mT),
    "vector": lambda c, a, h: tanh(a) * (h @ c.p)[:, None] + torch.mv(h, c.p).unsqueeze(1),
    "to one number": lambda c, a, h: tanh(a) * F.linear(h, c.p[None]),
    "outer": lambda c, a, h: tanh(a) + torch.einsum("b,i->bi", h.mean(-1), c.p),
    "chain": lambda c, a, h: tanh(tanh(tanh(a) @ c.U) @ c.U.t()),
    "parts of a matrix": lambda c, a, h: tanh(a + torch.cat([h @ c.U[:, :2], h[:, :3] @ c.U[:3, 2:]], -1)),
    "of what is joined": lambda c, a, h: tanh(torch.cat([tanh(a), h], -1) @ torch.cat([c.U, c.U * 0.5])),
    "skew-symmetric": lambda c, a, h: h + 0.1 * tanh(h @ (c.U - c.U.t() - 0.01 * torch.eye(6, dtype=h.dtype)) + a),
    "orthogonal": lambda c, a, h: tanh(a + h @ torch.matrix_exp(c.U - c.U.t())),
    "of positive numbers": lambda c, a, h: tanh(a + h @ torch.exp(c.U) * 0.1 + h @ torch.softmax(c.U, -1)),
    "triangular": lambda c, a, h: tanh(a + h @ torch.tril(c.U)),
    "einsum in blocks": lambda c, a, h: tanh(torch.einsum("bhi,hij->bhj", h.unflatten(1, (2, 3)), c.D).flatten(1)),
    "blocks and dense": lambda c, a, h: tanh(
        a + torch.bmm(h.unflatten(1, (2, 3)).transpose(0, 1), c.D).transpose(0, 1).flatten(1)
    ),
    "blocks first": lambda c, a, h: tanh(torch.einsum("hij,bhj->bhi", c.D, tanh(a).unflatten(1, (2, 3))).flatten(1)),
    "in parts and over rows": lambda c, a, h: tanh(
        torch.cat((h @ c.U).split([4, 2], -1)[::-1], -1) + torch.softmax(a + h @ c.U, -1) - h.mean(-1, keepdim=True)
    ),
    "block_diag": lambda c, a, h: tanh(a + h @ torch.block_diag(*c.D)),
}

REDUCTIONS = {
    "mean": lambda c, a, h: tanh(a - a.mean(-1, keepdim=True)),
    "sum": lambda c, a, h: tanh(a) / (1 + h.abs().sum(1))[:, None],
    "dot": lambda c, a, h: tanh(a) * (h * a).sum(-1, keepdim=True),
    "amax": lambda c, a, h: tanh(a - a.amax(-1, keepdim=True)),
    "amin": lambda c, a, h: tanh(a - a.amin(-1, keepdim=True)),
    "max": lambda c, a, h: tanh(a - a.max(-1, keepdim=True).values),
    "min": lambda c, a, h: tanh(a - a.min(-1, keepdim=True)[0]),
    "var": lambda c, a, h: tanh(a) / (a.var(-1, keepdim=True) + 1),
    "std": lambda c, a, h: tanh(a) / (a.std(-1, keepdim=True, unbiased=False) + 1),
    "var_mean": lambda c, a, h: tanh(a - torch.var_mean(a, -1, keepdim=True)[1]) * torch.var_mean(a, -1)[0][:, None],
    "norm": lambda c, a, h: a / (a.norm(dim=-1, keepdim=True) + a.norm(p=1, dim=-1, keepdim=True) + 1),
    "normalize": lambda c, a, h: F.normalize(a, dim=-1),
    "cosine": lambda c, a, h: tanh(a) * F.cosine_similarity(a, h + 1, dim=-1)[:, None],
    "softmax": lambda c, a, h: torch.softmax(a, -1),
    "log_softmax": lambda c, a, h: F.log_softmax(a, -1) * 0.3,
    "logsumexp": lambda c, a, h: tanh(a) * torch.logsumexp(a, -1, keepdim=True),
    "layer norm": lambda c, a, h: c["norm"](a) * 0.3,
    "layer norm without weights": lambda c, a, h: F.layer_norm(a, (6,)) * 0.3,
    "two layer norms": lambda c, a, h: tanh(F.layer_norm(c["norm"](a), (6,)) + F.layer_norm(h, (6,), c.p)),
    "rms norm": lambda c, a, h: c["rms"](a) * 0.3,
}

OUTSIDE = {
    "a product and a softmax": lambda c, a, h: (torch.softmax(tanh(a) @ c.U, -1), tanh(a)),
    "sorting": lambda c, a, h: (tanh(a).sort(-1).values, tanh(a)),
    "a running sum over channels": lambda c, a, h: (tanh(a).cumsum(-1), tanh(a)),
    "a product in blocks": lambda c, a, h: (
        torch.einsum("bhi,hij->bhj", tanh(a).unflatten(1, (2, 3)), c.D).flatten(1),
        tanh(a),
    ),
    "a group norm": lambda c, a, h: (F.group_norm(tanh(a), 2), tanh(a)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_with_parameters(agrees, name):
    agrees(PRODUCTS[name])


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_rows(agrees, name):
    agrees(REDUCTIONS[name])


def test_what_stands_before_the_loop(small_cell, compare_cell):
    class OfInputs(small_cell):
        def step(self, x, h):
            blocks = torch.einsum("bhi,hij->bhj", x.unflatten(1, (2, 3)), self.D).flatten(1)
            h = tanh(blocks + F.group_norm(x, 2) + x.sort(-1).values + torch.softmax(x, -1) @ self.U + h)
            return h, h

    compare_cell(OfInputs(None))


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_stands_after_the_loop(agrees, name):
    agrees(OUTSIDE[name])


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda c, a, h: tanh(a @ h.t() @ h), "mixes the rows of a batch"),
        (lambda c, a, h: tanh(a - a.mean(0)), "mixes the rows of a batch"),
        (lambda c, a, h: torch.softmax(a, 0), "mixes the rows of a batch"),
        (lambda c, a, h: (tanh(a).cumsum(0), tanh(a)), "mixes the rows of a batch"),
        (lambda c, a, h: tanh(a).sort(-1).values, "does not know aten.sort.default"),
        (lambda c, a, h: tanh(a).cumsum(-1), "does not know aten.cumsum.default"),
        (lambda c, a, h: F.group_norm(a, 2), "does not know aten.native_group_norm.default"),
        (lambda c, a, h: torch.softmax(a.unflatten(1, (2, 3)), -1).flatten(1), "anything but the whole row"),
        (lambda c, a, h: tanh(torch.einsum("bij,bj->bi", a.unflatten(1, (2, 3)), h[:, :3]).repeat(1, 3)), "at "),
    ],
)
def test_what_is_not_compiled_says_why(why_not, step, said):
    reason = why_not(step)
    assert said in reason
    assert "test_products.py:" in reason
