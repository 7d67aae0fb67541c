"""Which classes are taken for which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recurra.figures.canvas import FAINT, GRID, INK, canvas, save, write_heading
from recurra.figures.naming import heat, name_cells

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["merge_rare", "plot_confusion"]

MOST_CLASSES = 40
"""Classes that have a row each; all rarer ones share one."""
MOST_COUNTED = 20
"""Classes whose counts are written into the cells."""
NAME = 118.0
"""Points of a name."""
LEFT, WIDTH, BOTTOM, TOP = 0.19, 0.7, 0.2, 0.86
"""Of the table, as shares of the picture."""


def plot_confusion(
    labels: Sequence[str],
    counts: Sequence[Sequence[int]],
    path: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str = "",
) -> None:
    """Draw a confusion matrix, 1200 x 800: rows the truth, columns what was predicted, colours the share of the row.

    Args:
        labels: of the classes; beyond 40, the rarest are drawn as one.
        counts: (C, C), rows the truth.
        path: of the PNG, which is replaced in one step.
    Raises: RunError if the file cannot be written.
    """
    names, table = merge_rare(labels, np.asarray(counts, np.int64).reshape(len(labels), len(labels)), MOST_CLASSES)
    with canvas() as figure:
        write_heading(figure, title, subtitle)
        axes = figure.add_axes((LEFT, BOTTOM, WIDTH, TOP - BOTTOM))
        shares = table / np.maximum(table.sum(1, keepdims=True), 1)
        image = axes.imshow(shares, cmap=heat(), vmin=0, vmax=1, aspect="auto")
        name_cells(axes, names, names, room=NAME)
        level = not any(label.get_rotation() for label in axes.get_xticklabels())
        bottom = BOTTOM - 0.09 * level
        axes.set_position((LEFT, bottom, WIDTH, TOP - bottom))
        axes.set_xlabel("predicted", labelpad=8)
        axes.set_ylabel("truth", labelpad=8)
        _draw_edges(axes, len(names))
        if len(names) <= MOST_COUNTED:
            _write_counts(axes, table, shares)
        _explain_colours(
            figure.colorbar(image, cax=figure.add_axes((LEFT + WIDTH + 0.015, bottom, 0.015, TOP - bottom)))
        )
        save(figure, path)


def merge_rare(labels: Sequence[str], counts: NDArray[np.int64], most: int) -> tuple[list[str], NDArray[np.int64]]:
    """Keep the most frequent classes of the truth, in their order, and make one of all others.

    Returns: (names, counts) of at most `most` classes.
    """
    if len(labels) <= most:
        return list(labels), counts
    frequent = np.argsort(-counts.sum(1), kind="stable")[: most - 1]
    group = np.full(len(labels), most - 1)
    group[np.sort(frequent)] = np.arange(most - 1)
    merged = np.zeros((most, most), np.int64)
    np.add.at(merged, (group[:, None], group[None]), counts)
    return [*(labels[n] for n in np.sort(frequent)), f"{len(labels) - most + 1} others"], merged


def _draw_edges(axes: Axes, count: int) -> None:
    axes.grid(visible=False)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=GRID, linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)


def _explain_colours(bar: Any) -> None:
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0 %", "25 %", "50 %", "75 %", "100 %"], fontsize=11)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.set_title("of row", fontsize=11, loc="left", color=FAINT, pad=12)


def _write_counts(axes: Axes, table: NDArray[np.int64], shares: NDArray[Any]) -> None:
    size = min(15.0, max(7.0, 260 / len(table)))
    for row, column in np.argwhere(table > 0):
        colour = "white" if shares[row, column] > 0.55 else INK
        text = f"{table[row, column]:,}" if len(table) <= 10 else str(table[row, column])
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
