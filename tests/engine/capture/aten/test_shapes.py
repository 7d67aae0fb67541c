"""Views, parts and in-place writes: what is compiled equals the loop; what is not says why."""

from __future__ import annotations

import pytest
import torch
from torch import tanh

STEPS = {
    "split": lambda c, a, h: torch.cat([part * (n + 1) / 4 for n, part in enumerate(tanh(a).split([1, 2, 3], -1))], -1),
    "chunk": lambda c, a, h: torch.cat([tanh(a).chunk(2, 1)[1], torch.sigmoid(a).chunk(2, 1)[0]], 1),
    "tensor_split": lambda c, a, h: torch.cat(tanh(a).tensor_split(3, -1)[::-1], -1),
    "slice": lambda c, a, h: torch.cat([tanh(a)[:, 2:5], h[..., -3:]], -1),
    "narrow": lambda c, a, h: torch.cat([a.narrow(1, 1, 2).sigmoid(), h[:, :4]], -1),
    "select": lambda c, a, h: tanh(a) * h[:, :1] + h[:, 1, None] * 0.3,
    "unbind and stack": lambda c, a, h: torch.stack([tanh(part) for part in a.unbind(-1)], -1),
    "unflatten": lambda c, a, h: (tanh(a).unflatten(1, (2, 3)) * h.unflatten(1, (2, 3)) + 0.1).flatten(1),
    "parameters per head": lambda c, a, h: (tanh(a).unflatten(1, (2, 3)) * c.p[:2].unsqueeze(-1)).flatten(1),
    "parameters shared by heads": lambda c, a, h: (tanh(a).unflatten(1, (2, 3)) * c.p[:3]).flatten(1),
    "view": lambda c, a, h: (tanh(a).view(-1, 2, 3) * 0.4).view(-1, 6),
    "reshape by batch": lambda c, a, h: tanh(a).reshape(a.shape[0], 3, 2).reshape(a.shape[0], -1),
    "squeeze": lambda c, a, h: tanh(a).unsqueeze(1).squeeze(1),
    "roll": lambda c, a, h: tanh(a) + h.roll(1, -1) / 4 + h.roll(-2, 1) / 5,
    "expand": lambda c, a, h: tanh(a) * h[:, :1].expand(-1, 6),
    "repeat": lambda c, a, h: tanh(a) * h[:, :3].repeat(1, 2),
    "zeros": lambda c, a, h: torch.cat([tanh(a)[:, :4], torch.zeros_like(h[:, :2])], -1),
    "new tensors": lambda c, a, h: tanh(a) + h.new_full((h.shape[0], 6), 0.1) * torch.ones(6, dtype=h.dtype),
    "arange": lambda c, a, h: tanh(a) + torch.arange(6, dtype=h.dtype) / 10,
    "detach": lambda c, a, h: tanh(a) + h.detach() * 0.3,
}


@pytest.mark.parametrize("name", STEPS)
def test_what_moves_numbers(agrees, name):
    agrees(STEPS[name])


def test_writes_in_place(agrees):
    def step(cell, a, h):
        a = a.clone()
        a[:, :2] = 0.5
        a.mul_(2).add_(h)
        a[:, 3] += h[:, 0]
        a[:, 4:] = cell.p[4:]
        made = torch.zeros_like(h)
        made[:, :3] = tanh(a[:, 3:])
        made[:, 3:] = a[:, :3] * 0.2
        return made

    agrees(step)


def test_results_of_every_kind(agrees):
    agrees(lambda c, a, h: (torch.cat([h, a], -1), tanh(a)))
    agrees(lambda c, a, h: (h, c.p.expand(h.shape[0], -1) * a.sigmoid()))
    agrees(lambda c, a, h: (tanh(a).sum(-1, keepdim=True), tanh(a)))
    agrees(lambda c, a, h: (tanh(a), c.p.expand(h.shape[0], -1)))
    agrees(lambda c, a, h: (tanh(a), torch.zeros_like(h)))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda c, a, h: tanh(a)[:, ::2].repeat(1, 2), "slice of an axis other than the last, or with a step"),
        (lambda c, a, h: tanh(a).unflatten(1, (2, 3)).transpose(1, 2).reshape(-1, 6), "mixes rows"),
        (lambda c, a, h: tanh(a)[:, [1, 0, 3, 2, 5, 4]], "does not know aten.index.Tensor"),
        (lambda c, a, h: (a > 0, tanh(a)), "the output is torch.bool"),
        (lambda c, a, h: tanh(a).float().double(), "aten._to_copy"),
        (lambda c, a, h: tanh(a).flip(-1), "does not know aten.flip.default"),
        (lambda c, a, h: tanh(torch.complex(a, h)).real, "does not know aten."),
    ],
)
def test_what_is_not_compiled_says_why(why_not, step, said):
    reason = why_not(step)
    assert said in reason
    assert "test_shapes.py:" in reason or said.startswith("the output")
