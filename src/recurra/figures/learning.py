"""Who learns a task and who does not: losses over training beside what guessing costs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recurra.figures.canvas import BLUE, FAINT, GREEN, ORANGE, PURPLE, SKY, VERMILION, canvas, save, write_heading
from recurra.figures.series import Series, smoothed

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["Panel", "plot_learning"]

COLOURS = (BLUE, SKY, GREEN, VERMILION, PURPLE, ORANGE)
FIRST, OTHERS = 6.5, 2.0
"""Widths of lines: the first still shows under one that coincides with it."""
ROOM = 0.25
"""Space above the level of guessing, as a share of it."""
BELOW = 0.04
"""Space below 0, as a share of what is above."""
GAP, LOWEST, HIGHEST = 0.1, 0.03, 0.97
"""Between names, and where the first and the last may stand, as shares of a panel's height."""


class Panel(NamedTuple):
    """One task.

    Args:
        title: what is to be learned.
        unit: of the loss.
        chance: loss of guessing.
        losses: at each step, by what is trained.
    """

    title: str
    unit: str
    chance: float
    losses: Mapping[str, Sequence[float]]


def plot_learning(panels: Sequence[Panel], path: str | os.PathLike[str], *, title: str, subtitle: str) -> None:
    """Draw losses over the steps of training, smoothed, 1200 x 800: a panel for each task, each line with its name.

    Args:
        panels: tasks. A name has the same colour in all of them.
        path: of the PNG, which is replaced in one step.
    Raises: RunError if the file cannot be written.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.losses))
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)}
    with canvas() as figure:
        figure.subplots_adjust(left=0.085, right=0.78, top=0.82, bottom=0.085, hspace=0.32)
        write_heading(figure, title, subtitle)
        for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
            _draw(axes, panel, colours)
        axes.set_xlabel("step")
        save(figure, path)


def _draw(axes: Axes, panel: Panel, colours: Mapping[str, str]) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_title(panel.title, fontsize=14, loc="left", pad=10, parse_math=False)
    axes.set_ylabel(panel.unit)
    top = (1 + ROOM) * panel.chance
    axes.set_ylim(-BELOW * top, top)
    axes.set_xlim(0, max((len(losses) for losses in panel.losses.values()), default=0) or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.axhline(panel.chance, color=FAINT, linestyle="--", linewidth=1.5, zorder=3)
    ends: dict[str, float] = {}
    for name, losses in panel.losses.items():
        curve = smoothed(Series(np.arange(1.0, len(losses) + 1), np.array(losses, np.float64)))
        axes.plot(*curve, color=colours[name], linewidth=OTHERS if ends else FIRST, solid_capstyle="round")
        ends[name] = float(np.nan_to_num(curve.values[-1] / top, nan=1.0))
    _write_names(axes, ends, colours, panel.chance / top)


def _write_names(axes: Axes, ends: Mapping[str, float], colours: Mapping[str, str], chance: float) -> None:
    """Write each line's name beside its end, and lead from the one to the other."""
    entries = {**{name: min(max(end, 0.0), 1.0) for name, end in ends.items()}, "guessing": chance}
    order = sorted(entries, key=lambda name: entries[name])
    for name, place in zip(order, spread([entries[name] for name in order]), strict=True):
        colour = colours.get(name, FAINT)
        end = (BELOW + entries[name]) / (1 + BELOW)
        across = axes.transAxes
        axes.plot([1.005, 1.03], [end, place], color=colour, linewidth=1.0, transform=across, clip_on=False)
        axes.text(1.037, place, name, color=colour, va="center", transform=across, parse_math=False)


def spread(places: Sequence[float]) -> list[float]:
    """Move places, in rising order, as little as need be for neighbours to be a gap apart, between both bounds.

    Those that are in each other's way stand around their mean: the least squares of the moves.
    """
    groups: list[list[float]] = []  # of each: places less the gaps before them, whose mean is where it stands
    for n, place in enumerate(places):
        groups.append([place - n * GAP])
        while len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    means = [float(np.mean(group)) for group in groups for _ in group]
    last = max(LOWEST, HIGHEST - (len(places) - 1) * GAP)
    return [min(max(mean, LOWEST), last) + n * GAP for n, mean in enumerate(means)]
