"""What the parameters of a cell have done to its state, for cells whose units remember themselves alone.

Each entry of a parameter acts on one unit: its row modulo H. So the derivative of a state (B, H) by a parameter has one
number per row of the batch and entry, (B, *shape), in place of H of them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.engine.policies.recompute import refilled
from recurra.engine.policy import Segment, sequence_leaves
from recurra.errors import BackpropError
from recurra.state import map_leaves, named_leaves

__all__ = ["Influence", "advance", "check_diagonal", "no_influence", "spread"]

Influence = tuple[tuple[Tensor, ...], ...]

DRAWS = 3
SAME = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Difference below which two derivatives are one, relative to the largest."""


def no_influence(state: Any, parameters: Sequence[Tensor]) -> Influence:
    """Return the influence on a state that nothing has acted on yet."""
    leaves = list(named_leaves(state).values())
    return tuple(tuple(p.new_zeros(len(leaf), *p.shape) for p in parameters) for leaf in leaves)


def spread(units: Tensor, shape: Sequence[int]) -> Tensor:
    """Give each entry of a parameter the number of its unit: (B, H) -> (B, rows, 1, ...)."""
    return units.repeat(1, shape[0] // units.shape[1]).reshape(len(units), shape[0], *[1] * (len(shape) - 1))


def advance(
    segment: Segment, piece: Any, state: Any, influence: Influence, parameters: Sequence[Tensor]
) -> tuple[Influence, list[list[Tensor]]]:
    """Carry the influence over a piece of time.

        J_b = D ⊙ J_a + I

    Returns: (the influence after it, D): D[m][n] (B, H) is the derivative of leaf m after it by leaf n before it.
    """
    before = list(named_leaves(state).values())
    size, rows = len(before), len(before[0])
    D = [[torch.zeros_like(leaf) for leaf in before] for _ in range(size)]
    after = [[torch.empty_like(J) for J in of_leaf] for of_leaf in influence]
    # Row by row: each has derivatives of its own by the parameters that all share.
    for row in range(rows):
        own = slice(row, row + 1)
        starts = [leaf[own].detach().requires_grad_() for leaf in before]
        inputs = refilled(piece, iter([leaf[:, own].detach() for leaf in sequence_leaves(piece)]))
        with torch.enable_grad():
            final = list(named_leaves(segment(inputs, refilled(state, iter(starts)))[1]).values())
        for m, leaf in enumerate(final):
            wanted = [*starts, *parameters]
            found: Sequence[Tensor | None] = [None] * len(wanted)
            if leaf.requires_grad:
                more = m < size - 1
                found = torch.autograd.grad(leaf, wanted, torch.ones_like(leaf), retain_graph=more, allow_unused=True)
            for n, slope in enumerate(found[:size]):
                if slope is not None:
                    D[m][n][row] = slope[0]
            for number, direct in enumerate(found[size:]):
                total = torch.zeros_like(parameters[number]) if direct is None else direct
                for n in range(size):
                    total = total + spread(D[m][n][own], total.shape)[0] * influence[n][number][row]
                after[m][number][row] = total
    return tuple(map(tuple, after)), D


def check_diagonal(cell: Any, x: Any) -> None:
    """Check, by derivatives at random states, that units depend on themselves alone, and parameters act on one each.

    Raises: BackpropError with the name of the cell.
    """
    cell, random = copy.deepcopy(cell), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in cell.parameters():  # a matrix that is the identity at first is no diagonal
            parameter += 0.1 * torch.randn(parameter.shape, generator=random).to(parameter)
    x = map_leaves(
        lambda leaf: torch.randn(leaf.shape, generator=random).to(leaf) if leaf.is_floating_point() else leaf, x
    )
    leaves = named_leaves(cell.zero_state(len(sequence_leaves(x)[0])))
    if any(not leaf.is_floating_point() for leaf in leaves.values()):
        raise _refused(cell, "its state holds numbers that are not real")
    widths = {tuple(leaf.shape[1:]) for leaf in leaves.values()}
    if len(widths) != 1 or any(len(width) != 1 for width in widths):
        raise _refused(cell, "its state is not one number per unit")
    ((H,),) = widths
    parameters = {name: p for name, p in cell.named_parameters() if p.requires_grad}
    for name, parameter in parameters.items():
        if parameter.ndim == 0 or parameter.shape[0] % H:
            raise _refused(cell, f"its {name} {tuple(parameter.shape)} does not hold the same number of rows per unit")
    like = next(iter(leaves.values()))
    for _ in range(DRAWS):
        starts = [torch.randn(leaf.shape, generator=random).to(leaf).requires_grad_() for leaf in leaves.values()]
        v = torch.rand(H, generator=random).to(like) + 0.5
        drawn = torch.get_rng_state()
        with torch.enable_grad():
            _, final = cell.step(x, refilled(cell.zero_state(len(like)), iter(starts)))
        if not torch.equal(drawn, torch.get_rng_state()):
            raise _refused(cell, "its step draws random numbers")
        # If all is as it should be, a weight v on the units is the same weight on their derivatives.
        factors = [
            *(v.expand_as(start) for start in starts),
            *(spread(v[None], p.shape)[0] for p in parameters.values()),
        ]
        names = [
            *("a unit of its state depends on others" for _ in starts),
            *(f"its {n} acts on several" for n in parameters),
        ]
        for leaf in named_leaves(final).values():
            if not leaf.requires_grad:
                continue
            found: list[tuple[Tensor | None, ...]] = [
                torch.autograd.grad(
                    leaf, [*starts, *parameters.values()], seed.expand_as(leaf), retain_graph=True, allow_unused=True
                )
                for seed in (torch.ones_like(v), v)
            ]
            for one, other, factor, name in zip(*found, factors, names, strict=True):
                if one is None or other is None:
                    continue
                if (one * factor - other).abs().max() > SAME.get(like.dtype, 1e-2) * one.abs().max():
                    raise _refused(cell, name)


def _refused(cell: Any, reason: str) -> BackpropError:
    return BackpropError(
        f"online back-propagation needs a cell whose units remember themselves alone; {type(cell).__name__} is none: "
        f"{reason}. Take indrnn, mingru, minlstm, sru, or rglru with as many inputs as units, or another --backprop"
    )
