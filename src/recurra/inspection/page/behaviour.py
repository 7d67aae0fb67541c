"""Section 4: where the state goes when the input stays the same."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from recurra.figures import Mark, draw_portrait, percent
from recurra.inspection.attractors import Behaviour
from recurra.inspection.page.parts import Panel, Section
from recurra.inspection.words import plural, steps

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
            "Each map shows the state in the two directions in which it moves most, for one input. Rings: where paths "
            "start; they grow darker on their way. Black dots: stable fixed points, which draw states in. Orange "
            "rings: unstable ones, which a state leaves."
        ),
    )


def _panel(number: int, behaviour: Behaviour) -> Panel:
    pairs = zip(behaviour.places, behaviour.points, strict=True)
    marks = [Mark(*place, point.stable) for place, point in pairs]
    image = draw_portrait(behaviour.trajectories, marks, title=f"Map {number}: {behaviour.input}")
    # A word's own space says nothing, and a space alone cannot be seen.
    name = re.sub(r"(?<=[^\s'\"]) +'$", "'", behaviour.input).replace("' '", "'␣'")
    return Panel(name, _sentence(behaviour), image)


def _half(factor: float) -> str:
    """Return in how many steps something halves that keeps `factor` of itself in one."""
    count = math.log(0.5) / math.log(factor)
    return f"{count:.2g} steps" if count < 10 else steps(round(count))


def _sentence(behaviour: Behaviour) -> str:
    kind = behaviour.kind[:1].upper() + behaviour.kind[1:]
    if behaviour.period:
        kind += f" with a period of {behaviour.period}"
    stable = [point for point in behaviour.points if point.stable]
    unstable = len(behaviour.points) - len(stable)
    parts = [plural(len(stable), "stable fixed point")] if stable else []
    parts += [plural(unstable, "unstable one" if stable else "unstable fixed point")] if unstable else []
    found = " and ".join(parts) or "no fixed point"
    slowest = max((point.largest_eigenvalue for point in stable), default=None)
    rate = "" if slowest is None or not 0 < slowest < 1 else f", near which differences halve in {_half(slowest)}"
    return f"{kind}: {found}{rate}. The map shows {percent(behaviour.explained)} of the motion."
