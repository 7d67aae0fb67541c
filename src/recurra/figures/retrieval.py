"""How many of what is looked for are found, and how much else with them, drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from recurra.figures.canvas import BLUE, GREEN, PURPLE, VERMILION, canvas, save, write_heading

__all__ = ["plot_precision_recall"]

COLOURS = (BLUE, GREEN, VERMILION, PURPLE)


def plot_precision_recall(
    curves: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], path: str | os.PathLike[str], *, title: str, note: str
) -> None:
    """Draw precision over recall for each way to rank, 1200 x 800; the file is replaced in one step.

    Args:
        curves: by name, (recall, precision) of the same length.
        path: of the PNG.
        note: a line below the title.
    Raises: RunError if the file cannot be written.
    """
    with canvas() as figure:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.085, right=0.96, top=0.86, bottom=0.1)
        write_heading(figure, title, note)
        for number, (name, (recall, precision)) in enumerate(curves.items()):
            axes.plot(
                recall,
                precision,
                drawstyle="steps-post",
                color=COLOURS[number % len(COLOURS)],
                linestyle="-" if number < len(COLOURS) else "--",
                label=name,
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("recall: share of the anomalies that are found")
        axes.set_ylabel("precision: share of anomalies among the lines told")
        axes.legend(loc="lower left", frameon=True, framealpha=0.9, edgecolor="none")
        save(figure, path)
