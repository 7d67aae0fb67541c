"""Attractors of a network: what it does when its input stands still, and the fixed points behind that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.config import check_at_least
from recurra.inspection.fixed_points import FixedPoint, distinct, find_fixed_points, judge, settle
from recurra.inspection.jacobian import StateMap, still
from recurra.inspection.orbits import KINDS, LIMIT, Orbits, follow
from recurra.inspection.subject import read_pieces
from recurra.models import LanguageModel

__all__ = ["Behaviour", "FixedPoint", "find_fixed_points", "measure_behaviour", "observe"]

CONTEXT = 64
"""Steps of text that lead to a state to start from."""
NO_INPUT = "no input"
MOMENTS = (2, 8, 32)
"""Steps of an orbit from which fixed points are searched, besides its start and its end."""
STREWN = 6
"""Starts of a search that are drawn at random, about the orbits and as far from each other as they are wide."""
SEARCHED, FEWEST, MOST = 2**13, 10, 60
"""Numbers in all other starts of a search, and bounds for how many these are: of large networks it takes long."""
WORK = 8e6
"""Numbers of states that a search may multiply by Jacobians: some seconds."""
DRAWN = 400
"""States that principal components are taken of."""
MOST_POINTS = 6


@dataclass(frozen=True)
class Behaviour:
    """What the state of a network does while its input stands still.

    Args:
        input: "no input" (zeros in place of an embedding), or the token that is held, in quotes.
        kind: "settles to a point", "oscillates", "is chaotic" or "grows without bound": what most starts come to.
        points: fixed points that were found, stable ones first.
        period: steps of an oscillation, or until it nearly comes back; None where there is none.
        trajectories: from each start, in the two leading principal components of all of them.
        explained: share of their variance that these two hold.
        places: the points in these components.
        exponent: largest Lyapunov exponent of the starts of this kind, nats per step; None where all came to rest.
    """

    input: str
    kind: str
    points: list[FixedPoint]
    period: int | None
    trajectories: list[list[tuple[float, float]]]
    explained: float
    places: list[tuple[float, float]]
    exponent: float | None


def measure_behaviour(
    model: Any, tokens: Tensor, *, frequent: int = 2, starts: int = 6, steps: int = 1000
) -> list[Behaviour]:
    """Measure what a network does without input, and with an input that stands still.

    Args:
        model: a `LanguageModel`, for which no input is a vector of zeros in place of the embedding; or any cell or
            stack, for which zeros and the mean of what it reads are held.
        tokens: (N,) int64 of a text; for a cell, what it reads, (N, I) float.
        frequent: how many of the text's most frequent tokens are held, one after the other.
        starts: states to start from: a fresh one, the others those after pieces of the text.
        steps: to go from each.
    Raises: EngineError if torch cannot differentiate the step; CorpusError, ShapeError for tokens that cannot be read.
    """
    check_at_least(0, frequent=frequent)
    check_at_least(1, starts=starts, steps=steps)
    text = read_pieces(model, tokens, max(1, starts - 1), CONTEXT)
    zeros, names = torch.zeros_like(text.inputs[0, :1]), [NO_INPUT]
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):  # a user's step may draw
        if isinstance(model, LanguageModel):
            ids = [token for token, _ in Counter(tokens.tolist()).most_common(frequent)]
            names += [repr(model.vocabulary.decode([token])) for token in ids]
            held = still(model.embedding)(torch.tensor(ids, dtype=torch.long)).detach()
        else:
            names += ["the mean input"]
            held = tokens.detach().cpu().mean(0, keepdim=True)
        step = StateMap(text.cell, zeros)
        fresh = step.fresh(1)
        states = torch.cat([step.walk(text.inputs, step.fresh(text.inputs.shape[1]))[-1], fresh])[-starts:]
        return observe(step, torch.cat([zeros, held.to(zeros)]), states, names, steps=steps)


def observe(step: StateMap, inputs: Tensor, starts: Tensor, names: Sequence[str], *, steps: int) -> list[Behaviour]:
    """Tell what a map does at each of some inputs.

    Args:
        inputs: (K, I), held one by one.
        starts: flat states (R, N) to start from at each of them.
        names: of the inputs.
    """
    count, rows = len(inputs), len(starts)
    orbits = follow(step, inputs.repeat_interleave(rows, 0), starts.repeat(count, 1), steps)
    guesses = [_guesses(orbits, slice(n * rows, (n + 1) * rows)) for n in range(count)]
    lengths = [len(guess) for guess in guesses]
    held = inputs.repeat_interleave(torch.tensor(lengths), 0)
    ends, fixed = settle(step, held, torch.cat(guesses), work=WORK)
    behaviours = []
    for n, (end, is_fixed) in enumerate(zip(ends.split(lengths), fixed.split(lengths), strict=True)):
        found = distinct(end[is_fixed])[:MOST_POINTS]
        points = judge(step, inputs[n : n + 1], found, names[n])
        behaviours.append(_describe(orbits, slice(n * rows, (n + 1) * rows), points, names[n]))
    return behaviours


def _guesses(orbits: Orbits, rows: slice) -> Tensor:
    """Return states to search fixed points from, those first where orbits end."""
    shown = orbits.shown[:, rows]
    moments = [shown[0], *(shown[t] for t in MOMENTS if t < len(shown))]
    states = torch.cat([orbits.ends[rows], *moments])
    states = states[torch.isfinite(states).all(1) & (states.norm(dim=1) < LIMIT)]
    if not len(states):
        states = shown[0]
    noise = torch.randn(STREWN, states.shape[1], generator=torch.Generator().manual_seed(0), dtype=states.dtype)
    spread = states.std(0, correction=0) + 0.01
    most = min(MOST, max(FEWEST, SEARCHED // states.shape[1]))
    return torch.cat([distinct(states)[:most], states.mean(0) + spread * noise])


def _describe(orbits: Orbits, rows: slice, points: list[FixedPoint], name: str) -> Behaviour:
    kinds = orbits.kinds[rows]
    kind = max(KINDS, key=lambda known: (kinds.count(known), KINDS.index(known)))
    periods = Counter(p for p, k in zip(orbits.periods[rows], kinds, strict=True) if p is not None and k == kind)
    rates = [e for e, k in zip(orbits.exponents[rows], kinds, strict=True) if e is not None and k == kind]
    trajectories, places, explained = _project(orbits.shown[:, rows], points)
    return Behaviour(
        input=name,
        kind=kind,
        points=points,
        period=periods.most_common(1)[0][0] if periods else None,
        trajectories=trajectories,
        explained=explained,
        places=places,
        exponent=sum(rates) / len(rates) if rates else None,
    )


Places = list[tuple[float, float]]


@torch.no_grad()
def _project(shown: Tensor, points: list[FixedPoint]) -> tuple[list[Places], Places, float]:
    """Project orbits (T, R, N), as far as they are within bounds, and points onto the principal components."""
    orbits = []
    for orbit in shown.double().unbind(1):
        within = torch.isfinite(orbit).all(1) & (orbit.norm(dim=1) < LIMIT)
        orbits.append(orbit[: int(within.long().cumprod(0).sum())])
    states = torch.cat(orbits)
    center = states.mean(0) if len(states) else torch.zeros(shown.shape[2], dtype=torch.float64)
    drawn = states[:: max(1, len(states) // DRAWN)] - center
    values, axes = torch.linalg.svd(drawn, full_matrices=False)[1:]
    axes = torch.nn.functional.pad(axes[:2], (0, 0, 0, 2 - min(2, len(axes))))
    # a singular vector has no sign of its own
    axes = axes * torch.where(axes.gather(1, axes.abs().argmax(1, keepdim=True)) < 0, -1, 1)
    variance = values.square()
    explained = float(variance[:2].sum() / variance.sum()) if float(variance.sum()) > 0 else 1.0

    def place(state: Tensor) -> Places:
        return [(float(a), float(b)) for a, b in ((state - center) @ axes.mT).tolist()]

    known = torch.tensor([point.state for point in points], dtype=torch.float64).reshape(-1, shown.shape[2])
    return [place(orbit) for orbit in orbits], place(known), explained
