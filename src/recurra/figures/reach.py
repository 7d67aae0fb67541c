"""How far the gradient of each step's loss reaches back: a square of steps by steps for each way to back-propagate."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.figures.canvas import FAINT, INK, canvas, save, write_heading

__all__ = ["Reach", "plot_reach"]

COLUMNS = 4
HEAVIEST = 4.0
"""Factor of a gradient that has the darkest colour; 1 stands in the middle."""
COLOURS = [(0.0, "#E8F2F9"), (0.5, "#6FB1DC"), (0.6, "#F3CE92"), (1.0, "#B84A00")]


class Reach(NamedTuple):
    """One panel.

    Args:
        name: of the policy, as one writes it.
        remark: what it does, in a few words.
        factors: (T, T), by which the gradient of the loss at step t (row) is multiplied on its way to step s (column).
    """

    name: str
    remark: str
    factors: NDArray[np.float64]


def plot_reach(panels: Sequence[Reach], path: str | os.PathLike[str], *, title: str, subtitle: str) -> None:
    """Draw the panels side by side into a PNG.

    Raises: RunError if it cannot be written.
    """
    from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

    rows = math.ceil(len(panels) / COLUMNS)
    with canvas((15.0, 2.0 + 4.1 * rows)) as figure:
        write_heading(figure, title, subtitle)
        grid = figure.subplots(rows, COLUMNS, squeeze=False)
        figure.subplots_adjust(left=0.085, right=0.98, top=1 - 2.0 / (2.0 + 4.1 * rows), bottom=0.06, hspace=0.34)
        norm, colours = TwoSlopeNorm(1.0, 0.0, HEAVIEST), LinearSegmentedColormap.from_list("reach", COLOURS)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid.flat, panels, strict=False):
            shown = np.ma.masked_where(panel.factors == 0, np.minimum(panel.factors, HEAVIEST))
            axes.imshow(shown, cmap=colours, norm=norm, interpolation="nearest", aspect="equal")
            axes.plot([-0.5, len(shown) - 0.5], [-0.5, len(shown) - 0.5], color=FAINT, linewidth=0.8)
            axes.grid(False)
            axes.set_title(panel.name, loc="left", color=INK, fontsize=15, fontweight="bold", pad=26, parse_math=False)
            axes.text(0, 1.03, panel.remark, transform=axes.transAxes, color=INK, fontsize=11.5, va="bottom")
            axes.set_xlabel("reaches back to step", fontsize=11)
            axes.set_ylabel("loss at step", fontsize=11)
            axes.tick_params(labelsize=10)
        save(figure, path)
