"""What single units do: gates that are stuck, and units that follow something a reader can see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.config import check_at_least
from recurra.errors import DivergedError
from recurra.inspection.features import readable_features
from recurra.inspection.gates import record_gates
from recurra.inspection.reading import by_layer, carried_state, quiet, read_tokens, stretches
from recurra.models import LanguageModel
from recurra.state import map_leaves, named_leaves

__all__ = ["GateHistogram", "UnitStory", "Units", "measure_units"]

LEAST_TOKENS = 16
ROWS = 4
"""Stretches of text: from several places, and read at once."""

WARMUP = 256
BINS = 20
CLOSED, OPEN, STUCK = 0.1, 0.9, 0.95
SATURATED = 0.9

TELLING = 0.5
"""Least |r| of a story, where a quarter of the variance is shared: a reader of coloured text then sees it."""

LEAST_CHANGES = 4
"""Times that a feature must change in each half: a correlation with a single change is one of chance."""

STORY_CHARS = 300


@dataclass(frozen=True)
class GateHistogram:
    """How open a gate is.

    Args:
        layer: from 0, the bottom.
        gate: its name, "gate 1" … in a cell that is not in the box.
        edges: of the bins, one more than counts.
        counts: values of all units at all steps, by bin.
        stuck_closed, stuck_open: shares of units whose gate is below 0.1, or above 0.9, in more than 95 % of the steps.
    """

    layer: int
    gate: str
    edges: list[float]
    counts: list[int]
    stuck_closed: float
    stuck_open: float


@dataclass(frozen=True)
class UnitStory:
    """A unit that follows something readable.

    Args:
        layer, unit: from 0.
        feature: what it follows, such as "position in line".
        correlation: Pearson's r (with a yes or no: point-biserial), on text that had no part in choosing the unit.
        tokens: a stretch of about 300 characters of that text.
        activations: of the unit after each token, in ±1; a leaf that goes beyond is divided by its largest.
        leaf: of the state, such as "h" or "c"; "output" if the output is none.
    """

    layer: int
    unit: int
    feature: str
    correlation: float
    tokens: list[str]
    activations: list[float]
    leaf: str


@dataclass(frozen=True)
class Units:
    """Gates and units of a model on a text.

    Args:
        saturated: share of |h| > 0.9 over all units and steps of layers whose output is a tanh's; None without such.
    """

    gates: list[GateHistogram]
    stories: list[UnitStory]
    saturated: float | None


@dataclass(frozen=True)
class _Layer:
    """What a layer did: its gates (N, units), and by leaf its activations (T, R, units)."""

    gates: list[tuple[str, Tensor]]
    activations: dict[str, Tensor]
    output: Tensor
    has_tanh: bool


def measure_units(model: LanguageModel, tokens: Any, *, steps: int = 2000) -> Units:
    """Watch the units of a model while it reads a text.

    For every feature of `recurra.inspection.features` the unit that follows it best on the first half of what is read
    is looked at again on the second half. Among hundreds of units some follow anything by chance; that they do so
    twice, with the same sign, is no chance. A unit is reported with the r of the second half, if |r| >= 0.5 in both.

    Args:
        tokens: (N,) int64.
        steps: how many are read, in four stretches spread over the text, each after a warm-up of 256.
    Returns: gates by layer in the order of computation; stories, the strongest first.
    Raises: CorpusError for a text of fewer than 16 tokens; DivergedError if activations are no finite numbers.
    """
    check_at_least(LEAST_TOKENS, steps=steps)
    ids = read_tokens(model, tokens, least=LEAST_TOKENS)
    length = min(max(steps // ROWS, LEAST_TOKENS // ROWS), len(ids) // ROWS)
    warmup = min(WARMUP, len(ids) // ROWS - length)
    text = stretches(ids, ROWS, warmup + length)
    with quiet(model):
        layers = _watch(model, text[warmup:], carried_state(model, text[:warmup]))
    histograms = [_histogram(n, name, gate) for n, layer in enumerate(layers) for name, gate in layer.gates]
    outputs = [layer.output for layer in layers if layer.has_tanh and float(layer.output.abs().max()) <= 1]
    large = sum(int((output.abs() > SATURATED).sum()) for output in outputs)
    saturated = large / sum(output.numel() for output in outputs) if outputs else None
    return Units(histograms, _stories(model, text, warmup, layers), saturated)


@torch.no_grad()
def _watch(model: LanguageModel, text: Tensor, state: Any) -> list[_Layer]:
    """Read a text (T, R), layer by layer; the gates of all steps are then computed at once."""
    x, layers = model.embedding(text), []
    for cell, current in zip(model.stack.cells, by_layer(model.stack, state), strict=True):
        before, outputs, leaves = [], [], []
        for features in x:
            before.append(current)
            output, current = cell.step(features, current)  # type: ignore[operator]
            outputs.append(output)
            leaves.append(named_leaves(current))
        shared = {name for name, leaf in leaves[-1].items() if leaf is outputs[-1]}
        kept = [n for n, leaf in leaves[-1].items() if leaf.is_floating_point() and leaf.ndim == 2 and n not in shared]
        output = torch.stack(outputs)
        activations = {next(iter(shared), "output"): output}
        activations.update((name, torch.stack([leaf[name] for leaf in leaves])) for name in kept)
        if not all(bool(values.isfinite().all()) for values in activations.values()):
            raise DivergedError("the state of this model is no finite number on this text; the run has diverged")
        gates, has_tanh = record_gates(cell, x.flatten(0, 1), map_leaves(lambda *leaf: torch.cat(leaf), *before))
        layers.append(_Layer(gates, activations, output, has_tanh))
        x = x + output if model.stack.residual and x.shape == output.shape else output
    return layers


def _histogram(layer: int, name: str, gate: Tensor) -> GateHistogram:
    gate = gate.float().cpu()
    counts = torch.histc(gate, BINS, 0.0, 1.0).long().tolist()
    closed = ((gate < CLOSED).double().mean(0) > STUCK).double().mean()
    opened = ((gate > OPEN).double().mean(0) > STUCK).double().mean()
    edges = [n / BINS for n in range(BINS + 1)]
    return GateHistogram(layer, name, edges, counts, float(closed), float(opened))


def _stories(model: LanguageModel, text: Tensor, warmup: int, layers: list[_Layer]) -> list[UnitStory]:
    columns = [readable_features(model.vocabulary, row.tolist()) for row in text.T]
    half = len(columns) // 2
    halves = (slice(0, half), slice(half, None))
    places = [
        (n, leaf, acts.double().cpu()) for n, layer in enumerate(layers) for leaf, acts in layer.activations.items()
    ]
    stories = []
    for feature in columns[0]:
        values = torch.stack([column[feature] for column in columns], 1)[warmup:]
        if any(_changes(values[:, part]) < LEAST_CHANGES for part in halves):
            continue
        chosen = [_correlate(acts[:, halves[0]], values[:, halves[0]]) for _, _, acts in places]
        best = max(range(len(places)), key=lambda n: float(chosen[n].abs().max()))
        unit = int(chosen[best].abs().argmax())
        layer, leaf, acts = places[best]
        first = float(chosen[best][unit])
        again = float(_correlate(acts[:, halves[1], unit : unit + 1], values[:, halves[1]])[0])
        if min(abs(first), abs(again)) >= TELLING and first * again > 0:
            row = half + int(values[:, halves[1]].var(0).argmax())
            shown = acts[:, row, unit] / max(1.0, float(acts[..., unit].abs().max()))
            tokens = _show(model, text[warmup:, row].tolist())
            stories.append(UnitStory(layer, unit, feature, again, tokens, shown[: len(tokens)].tolist(), leaf))
    return sorted(stories, key=lambda story: -abs(story.correlation))


def _changes(values: Tensor) -> int:
    return int((values[1:] != values[:-1]).sum())


def _correlate(activations: Tensor, values: Tensor) -> Tensor:
    """Pearson's r (U,) of activations (T, R, U) with a feature (T, R); 0 for a unit that never moves."""
    a, v = activations.flatten(0, 1), values.flatten()
    a, v = a - a.mean(0), v - v.mean()
    scale = a.norm(dim=0) * v.norm()
    still = a.abs().amax(0) < 1e-9 * activations.abs().amax().clamp(min=1e-30)
    return torch.where(still | (scale == 0), 0.0, (v @ a) / scale.clamp(min=1e-300))


def _show(model: LanguageModel, ids: list[int]) -> list[str]:
    """The text of tokens, one by one, as far as about 300 characters."""
    shown, chars = [], 0
    for token in ids:
        if chars >= STORY_CHARS:
            break
        shown.append(model.vocabulary.decode([token]))
        chars += len(shown[-1])
    return shown
