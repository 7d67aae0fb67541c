"""Names that come from data: cut to the room there is, along axes and under pictures."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recurra.figures.canvas import INK

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["bare", "heat", "name_cells", "shorten", "wrap"]

LARGEST, SMALLEST = 13.0, 8.0
"""Points of a name in a wide and in a narrow cell."""
SLANTED, UPRIGHT = 45, 90
WIDE, LINE = 0.62, 1.15
"""Width of a character and height of a line, as shares of a font's size."""


def shorten(text: str, most: int) -> str:
    """Return a text on one line of at most so many characters, the last of them an ellipsis if it is longer."""
    line = " ".join(text.split()) or text.strip("\n")
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def bare(token: str) -> str:
    """Return a token without the signs of spaces, ␣, around it, unless it is nothing else."""
    return token.strip("␣") or token


def wrap(text: str, width: int, lines: int) -> str:
    """Return a text on at most so many lines, cut with an ellipsis."""
    return "\n".join(textwrap.wrap(shorten(text, width * lines), width, max_lines=lines, placeholder="…"))


def heat() -> Any:
    """Return colours from white to dark blue, for shares from 0 to 1."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("heat", ["#FFFFFF", "#B9DCF2", "#56B4E9", "#0072B2", "#06304C"])


def name_cells(axes: Axes, across: Sequence[str], down: Sequence[str], *, room: float) -> None:
    """Write names at the columns and rows of a table of cells that fills the axes.

    Where cells are narrow names are smaller and slanted, and where they are too narrow only some of them stand there.

    Args:
        across, down: names, none for no names.
        room: points that a name may take.
    """
    width, height = _points(axes)
    for axis, names, side in ((axes.xaxis, across, width), (axes.yaxis, down, height)):
        cell = side / max(len(names), 1)
        every = max(1, math.ceil(SMALLEST * LINE / cell))
        size = min(LARGEST, max(SMALLEST, 0.72 * every * cell))
        longest = max((len(shorten(name, int(room / (WIDE * size)))) for name in names), default=0)
        turned = axis is axes.xaxis and longest * WIDE * size > every * cell
        if turned:
            size = min(size, max(SMALLEST, 0.6 * every * cell))
        places = range(0, len(names), every)
        shown = [shorten(names[place], int(room / (WIDE * size))) for place in places]
        axis.set_ticks(places, shown, fontsize=size, color=INK, parse_math=False)
        if turned:
            _turn(axes, SLANTED if every * cell > LINE * 1.2 * size else UPRIGHT)
    axes.tick_params(length=0)


def _points(axes: Axes) -> tuple[float, float]:
    """Return width and height of axes."""
    box = axes.get_window_extent()
    per_point = axes.figure.dpi / 72
    return box.width / per_point, box.height / per_point


def _turn(axes: Axes, degrees: int) -> None:
    """Turn the names of columns, each with one end at its column."""
    above = axes.xaxis.get_ticks_position() == "top"
    for label in axes.get_xticklabels():
        label.set_rotation(degrees)
        label.set_rotation_mode("anchor")
        label.set_horizontalalignment("left" if above else "right")
        label.set_verticalalignment("center" if degrees == UPRIGHT else "bottom" if above else "top")
