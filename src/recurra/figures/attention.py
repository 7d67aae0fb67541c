"""What a decoder looked at for everything it wrote."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recurra.figures.canvas import FAINT, canvas, save, write_heading
from recurra.figures.naming import bare, heat, name_cells

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["AttentionMap", "plot_attention_map"]

MOST_MAPS = 4
NAME = 100.0
"""Points of a name."""
ROOM = {"left": 0.12, "right": 0.03, "top": 0.125, "bottom": 0.02}
"""Around each map, for names, as shares of the picture."""
TOP = 0.885
MANY = 400
"""Steps that have no pixel each."""
LEAST = 1e-9
"""Weight that is dark, where all are smaller."""


class AttentionMap(NamedTuple):
    """How much each input step counted for each token.

    Args:
        inputs: T tokens that were read; none for steps without names.
        outputs: S tokens that were written.
        weights: (S, T).
    """

    inputs: Sequence[str]
    outputs: Sequence[str]
    weights: Any


def plot_attention_map(
    maps: Sequence[AttentionMap], path: str | os.PathLike[str], *, title: str, subtitle: str = ""
) -> None:
    """Draw up to four maps of attention, 1200 x 800: columns what was read, rows what was written.

    Args:
        maps: side by side, two in a row.
        path: of the PNG, which is replaced in one step.
    Raises: RunError if the file cannot be written.
    """
    maps = maps[:MOST_MAPS]
    columns = min(len(maps), 2)
    rows = math.ceil(len(maps) / 2)
    with canvas() as figure:
        write_heading(figure, title, subtitle)
        width, height = 1 / max(columns, 1), TOP / max(rows, 1)
        for number, shown in enumerate(maps):
            row, column = divmod(number, 2)
            left, top = column * width + ROOM["left"], TOP - row * height - ROOM["top"]
            box = (left, TOP - (row + 1) * height + ROOM["bottom"], width - ROOM["left"] - ROOM["right"], 0.0)
            axes = figure.add_axes((*box[:3], top - box[1]))
            _draw(axes, shown)
        save(figure, path)


def _draw(axes: Axes, shown: AttentionMap) -> None:
    weights = np.asarray(shown.weights, np.float64)
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.xaxis.tick_top()
    if weights.size:
        highest = max(float(weights.max()), LEAST)
        drawn = "nearest" if weights.shape[1] < MANY else "auto"
        axes.imshow(weights, cmap=heat(), vmin=0, vmax=highest, aspect="auto", interpolation=drawn)
    known = len(shown.inputs) == weights.shape[1]
    across, down = ([bare(token) for token in side] for side in (shown.inputs if known else (), shown.outputs))
    name_cells(axes, across, down, room=NAME)
    if not known:
        axes.set_xlabel(f"{weights.shape[1]:,} input steps", color=FAINT)
        axes.xaxis.set_label_position("top")
