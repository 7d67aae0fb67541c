"""Section 4: where the state goes when the input stays the same."""

from __future__ import annotations

from collections.abc import Sequence

from recurra.figures import Mark, draw_portrait, percent
from recurra.inspection.attractors import Behaviour
from recurra.inspection.page.parts import Panel, Section
from recurra.inspection.words import plural

__all__ = ["behaviour_section"]


def behaviour_section(behaviours: Sequence[Behaviour]) -> Section:
    """A small portrait for each input, and a sentence."""
    heading = "Behaviour"
    if not behaviours:
        return Section("behaviour", heading, missing="The behaviour under constant input could not be followed.")
    return Section(
        "behaviour",
        heading,
        lead=(
            "Hold the input still and let the network run: where does its state go? To a fixed point, which holds one "
            "memory; around a cycle; or nowhere in particular. Gradients die on the way into a fixed point."
        ),
        panels=[_panel(number, behaviour) for number, behaviour in enumerate(behaviours, start=1)],
        panels_caption=(
            "Each small map shows the state in the two directions in which it moves most. Rings: where paths start; "
            "they grow darker on their way. Filled dots: stable fixed points, which draw states in; orange rings: "
            "unstable ones, which a state leaves."
        ),
    )


def _panel(number: int, behaviour: Behaviour) -> Panel:
    # A chart's text has no room for more than a word or two.
    name = behaviour.input if len(behaviour.input) <= 14 else f"{behaviour.input[:13]}…"
    marks = [
        Mark(*place, point.stable)
        for point in behaviour.points
        if (place := getattr(point, "place", None)) is not None
    ]
    image = draw_portrait(
        behaviour.trajectories, marks, name=name, title=f"Behaviour {number}: {behaviour.input}"
    )
    return Panel(_sentence(behaviour), image)


def _sentence(behaviour: Behaviour) -> str:
    kind = behaviour.kind
    if behaviour.period:
        kind += f" with a period of {behaviour.period}"
    stable = [point for point in behaviour.points if point.stable]
    unstable = len(behaviour.points) - len(stable)
    parts = [plural(len(stable), "stable fixed point")] if stable else []
    parts += [plural(unstable, "unstable one" if stable else "unstable fixed point")] if unstable else []
    found = " and ".join(parts) or "no fixed point"
    slowest = max((point.largest_eigenvalue for point in stable), default=None)
    rate = "" if slowest is None else f"; near it a difference keeps {percent(slowest)} of its size at each step"
    return (
        f"Under {behaviour.input} it {kind}: {found}{rate}. The map shows {percent(behaviour.explained)} of the motion."
    )
