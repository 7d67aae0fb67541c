"""Where a network goes under an input that does not change, in the plane of its two leading components."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recurra.figures.canvas import BLUE, CARD, INK, SKY, VERMILION
from recurra.figures.vector import drawing, svg

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["Mark", "draw_portrait"]

SIDE = 2.1
"""Inches: two stand side by side on a phone."""


class Mark(NamedTuple):
    """A fixed point in the plane."""

    x: float
    y: float
    stable: bool


def draw_portrait(trajectories: Sequence[Sequence[tuple[float, float]]], marks: Sequence[Mark], *, title: str) -> str:
    """Draw trajectories from where they start, small rings, with fixed points: filled if stable, hollow if not."""
    with drawing(SIDE, SIDE) as figure:
        axes = figure.subplots()
        for path in trajectories:
            if path:
                _draw_path(axes, np.asarray(path, float))
        for stable, inner, edge in ((True, INK, CARD), (False, CARD, VERMILION)):
            x = [mark.x for mark in marks if mark.stable is stable]
            y = [mark.y for mark in marks if mark.stable is stable]
            axes.plot(x, y, "o", color=inner, markersize=7, markeredgecolor=edge, markeredgewidth=1.6, zorder=5)
        axes.margins(0.08)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return svg(
            figure, title, f"{len(trajectories)} paths of the state in its two leading components; rings: starts; "
            f"{sum(mark.stable for mark in marks)} stable and {sum(not mark.stable for mark in marks)} unstable "
            "fixed points."
        )  # fmt: skip


def _draw_path(axes: Axes, path: np.ndarray) -> None:
    """Draw a path that grows darker on its way, in a few pieces that overlap by a point."""
    pieces = min(4, len(path) - 1)
    bounds = np.linspace(0, len(path) - 1, pieces + 1).astype(int) if pieces > 0 else [0]
    for k, (start, stop) in enumerate(pairwise(bounds)):
        axes.plot(*path[start : stop + 1].T, color=BLUE, linewidth=0.9, alpha=0.3 + 0.6 * (k + 1) / pieces)
    axes.plot(*path[0], marker="o", color=CARD, markersize=3, markeredgecolor=SKY, markeredgewidth=1.0, zorder=3)
