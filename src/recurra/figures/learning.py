"""Curves of several trainings side by side, a panel for each task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recurra.figures.canvas import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION, canvas, save, write_heading

__all__ = ["Curve", "plot_learning"]

COLOURS = (BLUE, SKY, GREEN, VERMILION, PURPLE, ORANGE)
HIGHEST = 1.6
"""Share of chance at which a curve leaves the picture: a training may begin far above."""


class Curve(NamedTuple):
    """A training.

    Args:
        steps: at which it was looked at.
        losses: as a share of what chance gives.
    """

    name: str
    steps: Sequence[int]
    losses: Sequence[float]


def plot_learning(
    panels: Mapping[str, Sequence[Curve]], path: str | os.PathLike[str], *, title: str, subtitle: str
) -> None:
    """Draw losses against steps into a PNG, chance as a dashed line; panels by the name of their task.

    Raises: RunError if it cannot be written.
    """
    with canvas((13.0, 6.6)) as figure:
        write_heading(figure, title, subtitle)
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        figure.subplots_adjust(left=0.085, right=0.97, top=0.79, bottom=0.11, wspace=0.16)
        for axes, (name, curves) in zip(grid, panels.items(), strict=True):
            axes.axhline(1, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
            for curve, colour in zip(curves, COLOURS, strict=False):
                axes.plot(curve.steps, curve.losses, color=colour, label=curve.name)
            axes.set_ylim(0, HIGHEST)
            axes.set_xlim(0, max(curve.steps[-1] for curve in curves))
            axes.set_yticks([0, 0.5, 1], ["0", "half", "chance"])
            axes.set_title(name, loc="left", color=INK, fontsize=15, fontweight="bold", pad=10)
            axes.set_xlabel("optimizer step")
            axes.legend(frameon=False, loc="upper right", ncols=2, fontsize=12)
        save(figure, path)
