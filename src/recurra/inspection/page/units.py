"""Section 5: gates that stand open or shut, and units that can be read."""

from __future__ import annotations

from recurra.figures import Gate, draw_gates, percent
from recurra.inspection.page.parts import Chart, Coloured, Section, Span
from recurra.inspection.units import Units, UnitStory
from recurra.inspection.words import ends_line, gate_name, legible

__all__ = ["unit_section"]


def unit_section(units: Units | None) -> Section:
    """Histograms of gates, and texts in the colours of a unit."""
    heading = "Gates and units"
    if units is None:
        return Section("units", heading, missing="Gates and units could not be recorded for this cell.")
    gated = bool(units.gates)
    share = units.saturated
    lead = (
        "A gate is a factor between 0, closed, and 1, open. One that is always closed or always open decides nothing, "
        "and at either end hardly any gradient reaches what sets it."
        if gated
        else "This cell computes no gates."
    )
    saturated = "" if share is None else f" {percent(share)} of all outputs are saturated, beyond ±0.9."
    return Section(
        "units",
        heading,
        lead=lead + saturated,
        charts=[_gates(units)] if gated else [],
        texts=[_story(story) for story in units.stories],
    )


def _gates(units: Units) -> Chart:
    title = "How open the gates stand"
    gates = [Gate(g.layer + 1, g.gate, g.edges, g.counts, g.stuck_closed, g.stuck_open) for g in units.gates]
    worst = max(units.gates, key=lambda gate: gate.stuck_closed + gate.stuck_open)
    stuck = worst.stuck_closed + worst.stuck_open
    side = "open" if worst.stuck_open >= worst.stuck_closed else "closed"
    rest = (
        f"Most are stuck among the {gate_name(worst.gate)} of layer {worst.layer + 1}: {percent(stuck)}, mostly {side}."
        if stuck > 0
        else "None is stuck."
    )
    return Chart(
        title,
        "How often each gate has which value on the text, from 0, closed (orange), to 1, open (blue); a panel for each "
        f"gate and layer. A gate is stuck if it is at one end in 95 % of the steps. {rest}",
        draw_gates(gates, title=title),
    )


def _story(story: UnitStory) -> Coloured:
    largest = max((abs(value) for value in story.activations), default=0.0) or 1.0
    spans = [
        Span(legible(token), round(abs(value) / largest, 3), value >= 0, f"{value:+.2f}", ends_line(token))
        for token, value in zip(story.tokens, story.activations, strict=True)
    ]
    return Coloured(
        f"Layer {story.layer + 1}, {story.leaf}[{story.unit}]: {story.feature}",
        f"Blue where the unit is positive, orange where it is negative; it follows “{story.feature}” with a "
        f"correlation of {story.correlation:+.2f}.".replace("-", "−"),
        spans,
    )
