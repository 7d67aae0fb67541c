"""How far open gates stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recurra.figures.canvas import AXIS, BLUE, FAINT, INK, VERMILION
from recurra.figures.marks import in_rows, percent
from recurra.figures.vector import drawing, svg

__all__ = ["Gate", "draw_gates"]

COLUMNS = 3
MOST_PANELS = 24
CLOSED, OPEN = 0.1, 0.9
LEAST = 0.005
"""Share of stuck gates that is worth a word."""


class Gate(NamedTuple):
    """A histogram of one gate of one layer."""

    layer: int
    name: str
    edges: Sequence[float]
    counts: Sequence[int]
    stuck_closed: float
    stuck_open: float


def draw_gates(gates: Sequence[Gate], *, title: str) -> str:
    """Draw a histogram for each gate of each layer; what counts as closed or open has a colour of its own."""
    shown = gates[:MOST_PANELS]
    places = in_rows([gate.layer for gate in shown], COLUMNS)
    rows, columns = places[-1][0] + 1, 1 + max(column for _, column in places)
    with drawing(rows * 1.3 + 0.1, across=0.1, down=0.06) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for place, gate in zip(places, shown, strict=True):
            axes = grid[place]
            axes.set_axis_on()
            edges = np.asarray(gate.edges, float)
            shares = np.asarray(gate.counts, float) / max(1, sum(gate.counts))
            middles = (edges[1:] + edges[:-1]) / 2
            colours = [VERMILION if m < CLOSED else BLUE if m > OPEN else AXIS for m in middles]
            axes.bar(edges[:-1], shares, width=np.diff(edges) * 0.9, align="edge", color=colours)
            axes.set(xlim=(0, 1), yticks=[], xticks=[0, 1])
            for tick, side in zip(axes.get_xticklabels(), ("left", "right"), strict=True):
                tick.set_horizontalalignment(side)
            axes.spines["left"].set_visible(False)
            axes.set_title(gate.name, loc="left", color=INK)
            if place[1] == 0:
                axes.set_ylabel(f"layer {gate.layer}")
            stuck = gate.stuck_closed + gate.stuck_open
            if stuck >= LEAST:
                axes.set_xlabel(f"{percent(stuck)} stuck", color=FAINT, labelpad=-10)
        return svg(
            figure, title, "Histograms of gate values from 0, closed, to 1, open, one for each gate of each layer; "
            "below a tenth and above nine tenths in colours of their own."
        )  # fmt: skip
