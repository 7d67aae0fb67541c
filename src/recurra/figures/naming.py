"""Names that come from data: cut to the room there is, along axes and under pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["heat", "name_cells", "shorten", "wrap"]

LARGEST, SMALLEST = 13.0, 8.0
"""Points of a name in a wide and in a narrow cell."""
SLANTED = 45


def shorten(text: str, most: int) -> str:
    """Return a text on one line of at most so many characters, the last of them an ellipsis if it is longer."""
    line = " ".join(text.split()) or text.strip("\n")
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def wrap(text: str, width: int, lines: int) -> str:
    """Return a text on at most so many lines, cut with an ellipsis."""
    return "\n".join(textwrap.wrap(shorten(text, width * lines), width, max_lines=lines, placeholder="…"))


def heat() -> object:
    """Return colours from white to dark blue, for shares from 0 to 1."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("heat", ["#FFFFFF", "#B9DCF2", "#56B4E9", "#0072B2", "#06304C"])


def name_cells(axes: Axes, across: Sequence[str], down: Sequence[str], *, most: int) -> None:
    """Write names at the columns and rows of a table of cells that fills the axes.

    Where cells are narrow names are smaller and slanted, and where they are too narrow only some of them stand there.

    Args:
        across, down: names, none for no names.
        most: characters of a name.
    """
    figure = axes.get_figure()
    assert figure is not None
    box = axes.get_position()
    width, height = 72 * box.width * figure.get_figwidth(), 72 * box.height * figure.get_figheight()  # type: ignore[union-attr]
    for axis, names, room in ((axes.xaxis, across, width), (axes.yaxis, down, height)):
        shown = [shorten(name, most) for name in names]
        cell = room / max(len(shown), 1)
        size = min(LARGEST, max(SMALLEST, 0.72 * cell))
        every = max(1, -(-len(shown) * SMALLEST * 1.15 // room))
        places = range(0, len(shown), int(every))
        axis.set_ticks(places, [shown[place] for place in places], fontsize=size, color="#222222", parse_math=False)
        if axis is axes.xaxis and max(map(len, shown), default=0) * 0.62 * size > cell * every:
            turn_names(axes, SLANTED if cell * every > 1.3 * size else 90)
    axes.tick_params(length=0)


def turn_names(axes: Axes, degrees: int) -> None:
    """Turn the names of columns, with one end at its column."""
    above = axes.xaxis.get_ticks_position() == "top"
    for label in axes.get_xticklabels():
        label.set_rotation(degrees)
        label.set_rotation_mode("anchor")
        label.set_horizontalalignment("left" if above else "right")
        label.set_verticalalignment("center" if degrees == 90 else "bottom" if above else "top")
