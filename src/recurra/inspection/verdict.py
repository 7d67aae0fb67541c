"""What the measures of an inspection say, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from recurra.figures import percent
from recurra.inspection.attractors import Behaviour
from recurra.inspection.flow import Flow, TruncationError
from recurra.inspection.lyapunov import Lyapunov
from recurra.inspection.spectrum import Spectrum
from recurra.inspection.units import Units
from recurra.inspection.words import gate_name, steps

__all__ = ["enough", "write_verdict"]

CLOSE = 0.05
"""Relative error below which what a truncated gradient misses is no more than the noise between two batches."""
POOR = 0.2
"""Relative error from which a window is called too short."""
AMPLE = 4
"""A window so many times longer than one that is enough is more than enough."""
NOTABLE = 0.02
"""Share of a kind of gate from which it is worth a word that they are stuck."""
MANY = 0.25
"""Share of gates stuck from which it is a fault, and of outputs saturated from which it is worth a word."""
MOST = 0.5
"""Share of outputs saturated from which that is a fault."""
CERTAIN = 2.0
"""Standard errors by which a Lyapunov exponent must differ from zero to be told from it."""

VAGUE = 0.5
"""Standard error of a Lyapunov exponent, in nats per step, from which it says nothing: directions that die at once."""

FAULT, REMARK = 0, 1


class Finding(NamedTuple):
    """A sentence, and how much it matters."""

    weight: int
    sentence: str


def write_verdict(
    *,
    window: int | None = None,
    flow: Flow | None = None,
    spectrum: Spectrum | None = None,
    behaviours: Sequence[Behaviour] = (),
    units: Units | None = None,
) -> list[str]:
    """Say what was found: gradients first, then faults, then the rest; nothing of what was not measured.

    Args:
        window: steps after which training cuts the gradient; None if it leaves none out.
    """
    findings: list[Finding] = []
    gradients = [] if flow is None else [*_reach(flow), *_truncation(flow, window)]
    if units is not None:
        findings += _gates(units)
    if spectrum is not None and spectrum.lyapunov is not None:
        findings += _drift(spectrum.lyapunov)
    findings += _behaviour(behaviours)
    ordered = [*sorted(gradients, key=_weight), *sorted(findings, key=_weight)]
    return [finding.sentence for finding in ordered]


def _weight(finding: Finding) -> int:
    return finding.weight


def enough(truncation: Sequence[TruncationError]) -> int | None:
    """Return the shortest window from which on all measured ones give the whole gradient to within `CLOSE`."""
    shortest = None
    for point in sorted(truncation, key=lambda point: point.window, reverse=True):
        if point.relative_error > CLOSE:
            break
        shortest = point.window
    return shortest


def _reach(flow: Flow) -> Iterator[Finding]:
    if not flow.layers or len(flow.layers[-1].lags) < 2:
        return
    top = flow.layers[-1]
    last, left = top.lags[-1], top.norms[-1]
    if top.rate == "exploding":
        yield Finding(
            FAULT,
            f"Gradients explode: {steps(last)} back they are {left:,.3g} times as large; clip their norm, or begin "
            "with smaller recurrent weights.",
        )
    elif flow.fades_at is not None:
        yield Finding(REMARK, f"Gradients fall to 1 % after {steps(flow.fades_at)}.")
    elif top.rate == "neutral":
        yield Finding(REMARK, f"Gradients keep their size: {percent(left)} is left after {steps(last)}.")
    else:
        yield Finding(REMARK, f"Gradients fade slowly: {percent(left)} is left after {steps(last)}.")


def _truncation(flow: Flow, window: int | None) -> Iterator[Finding]:
    points = sorted(flow.truncation, key=lambda point: point.window)
    sufficient = enough(points)
    # Where gradients explode, the last steps back outweigh all others, and a longer window makes it worse.
    if not points or (flow.layers and flow.layers[-1].rate == "exploding"):
        return
    if window is None:
        if sufficient is not None:
            yield Finding(
                REMARK,
                f"Training leaves no gradient out; a window of {sufficient:,} gives it to within {percent(CLOSE)}.",
            )
        return
    # The error falls as windows grow, so what is measured on either side of the window bounds it.
    at_most = next((point.relative_error for point in reversed(points) if point.window <= window), None)
    at_least = next((point.relative_error for point in points if point.window >= window), None)
    if at_most is not None and at_most <= CLOSE:
        if sufficient is not None and sufficient * AMPLE <= window:
            yield Finding(REMARK, f"The window of {window:,} is more than enough: {sufficient:,} would do.")
        else:
            yield Finding(REMARK, f"The window of {window:,} cuts nothing that matters.")
    elif at_least is not None and at_least >= POOR:
        advice = f"{sufficient:,} would be enough" if sufficient is not None else "a longer one would learn more"
        share = percent(min(at_least, 1.0)) if at_least <= 1 else "most"
        yield Finding(FAULT, f"The window of {window:,} is too short: it misses {share} of the gradient; {advice}.")
    elif at_least is not None and at_least > CLOSE:
        advice = f"; {sufficient:,} would be enough" if sufficient is not None else ""
        yield Finding(REMARK, f"The window of {window:,} misses {percent(at_least)} of the gradient{advice}.")


def _gates(units: Units) -> Iterator[Finding]:
    for gate in dict.fromkeys(histogram.gate for histogram in units.gates):
        layers = [histogram for histogram in units.gates if histogram.gate == gate]
        for side in ("closed", "open"):
            share = sum(getattr(histogram, f"stuck_{side}") for histogram in layers) / len(layers)
            if share >= NOTABLE:
                weight = FAULT if share >= MANY else REMARK
                yield Finding(weight, f"{percent(share)} of the {gate_name(gate)} are stuck {side}.")
    if units.saturated is not None and units.saturated >= MANY:
        weight = FAULT if units.saturated >= MOST else REMARK
        yield Finding(weight, f"{percent(units.saturated)} of the outputs are saturated, beyond ±0.9.")


def _drift(lyapunov: Lyapunov) -> Iterator[Finding]:
    if not lyapunov.exponents:
        return
    largest, error = lyapunov.exponents[0], lyapunov.errors[0]
    if error > VAGUE:
        return
    digits = 3 if error >= 5e-4 else 4
    shown = f"{largest:+.{digits}f} ± {error:.{digits}f} nats per step".replace("-", "−")
    if largest > CERTAIN * error and largest > 0:
        yield Finding(FAULT, f"Small differences of the state grow: the largest Lyapunov exponent is {shown}.")
    elif largest < -CERTAIN * error:
        yield Finding(REMARK, f"Small differences of the state die out: the largest Lyapunov exponent is {shown}.")
    else:
        yield Finding(REMARK, f"Small differences of the state stay: the largest Lyapunov exponent is {shown}.")


def _behaviour(behaviours: Sequence[Behaviour]) -> Iterator[Finding]:
    if not behaviours:
        return
    growing = [behaviour.input for behaviour in behaviours if behaviour.kind == "grows without bound"]
    if growing:
        yield Finding(FAULT, f"The state grows without bound under {growing[0]}.")
    kinds = Counter(behaviour.kind for behaviour in behaviours if behaviour.kind != "grows without bound")
    if len(kinds) == 1 and not growing:
        each = "each of the constant inputs tried" if len(behaviours) > 1 else behaviours[0].input
        yield Finding(REMARK, f"Under {each} the state {behaviours[0].kind}.")
    elif kinds:
        parts = [f"{kind} under {count}" for kind, count in kinds.most_common()]
        yield Finding(REMARK, f"Of {len(behaviours)} constant inputs, the state {' and '.join(parts)}.")
