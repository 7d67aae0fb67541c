"""What several charts of a page share: names beside lines, shares as percentages, dots by the thousand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from recurra.figures.canvas import BLUE, CARD, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = [
    "SERIES",
    "draw_dots",
    "in_rows",
    "list_names",
    "mark_window",
    "name_lines",
    "percent",
    "power",
    "show_powers",
    "show_shares",
]

SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""Colours of lines side by side, in this order."""
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SMALLEST_SHARE = 1e-5
LINE_HEIGHT = 12.0
"""Points between the middles of two labels, one above the other."""


def percent(share: float) -> str:
    """Write a share with two digits: ``23 %``, ``0.45 %``; what is too small to matter as ``under 0.001 %``."""
    value = 100 * share
    if 0 < abs(share) < SMALLEST_SHARE:
        return "under 0.001 %"
    if abs(value) >= 9.95:
        return f"{value:,.0f} %"
    return f"{value:.2g} %"


def power(value: float) -> str:
    """Write a power of ten as it stands at an axis of shares: ``10×``, ``100 %``, ``0.1 %``, ``10⁻⁶``."""
    exponent = round(math.log10(value)) if value > 0 else 0
    if 1 <= exponent <= 4:
        return f"{10**exponent:,}×"
    if -5 <= exponent <= 0:
        return f"{100 * 10.0**exponent:g} %"
    return f"10{str(exponent).translate(SUPERSCRIPTS)}"


def show_powers(axes: Axes, low: float, high: float) -> None:
    """Make the vertical axis logarithmic, from low to high, with a few powers of ten as shares."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_yscale("log")
    axes.set_ylim(low, high)
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, math.ceil((last - first) / 6))
    axes.yaxis.set_major_locator(FixedLocator([10.0**e for e in range(last, first - 1, -1) if e % every == 0]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))


def show_shares(axis: Any) -> None:
    """Label an axis of shares in per cent."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))


def name_lines(axes: Axes, names: Sequence[str], heights: Sequence[float], colours: Sequence[str]) -> None:
    """Write names to the right of the axes, at the heights where lines end, moved apart where they would meet."""
    figure = axes.get_figure()
    assert figure is not None
    figure.canvas.draw()  # the layout, and with it the size of the axes, is settled only then
    to_points = 72 / figure.dpi
    ends = axes.transData.transform([(axes.get_xlim()[1], height) for height in heights])[:, 1] * to_points
    bottom = axes.get_window_extent().y0 * to_points
    order = np.argsort(ends, kind="stable")
    placed = ends.copy()
    for lower, upper in pairwise(order):
        placed[upper] = max(placed[upper], placed[lower] + LINE_HEIGHT)
    placed -= (placed.mean() - ends.mean()) if len(placed) > 1 else 0.0
    total = axes.get_window_extent().height * to_points
    for name, place, colour in zip(names, placed, colours, strict=True):
        axes.annotate(
            name, (1.0, (place - bottom) / total), xycoords="axes fraction", xytext=(4, 0),
            textcoords="offset points", va="center", color=colour, annotation_clip=False,
        )  # fmt: skip


def list_names(axes: Axes, names: Sequence[str], colours: Sequence[str]) -> None:
    """Write names one below the other into the upper right corner, where falling lines leave room."""
    for row, (name, colour) in enumerate(zip(names, colours, strict=True)):
        axes.annotate(
            name, (1.0, 1.0), xycoords="axes fraction", xytext=(0, -2 - 14 * row), textcoords="offset points",
            ha="right", va="top", color=colour, bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip


def in_rows(layers: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Return (row, column) of small panels, `most` in a row.

    Each layer begins a row, unless each has a single panel.

    Args:
        layers: of the panels, ascending.
    """
    if len(set(layers)) == len(layers):
        return [divmod(position, most) for position in range(len(layers))]
    places: list[tuple[int, int]] = []
    for position, layer in enumerate(layers):
        row, column = places[-1] if places else (-1, most)
        fresh = position == 0 or layer != layers[position - 1] or column + 1 == most
        places.append((row + 1, 0) if fresh else (row, column + 1))
    return places


def mark_window(axes: Axes, window: int | None, *, height: float = 0.98) -> None:
    """Draw where truncation cuts, if that lies within the axes."""
    low, high = sorted(axes.get_xlim())
    if window is None or not low <= window <= high:
        return
    axes.axvline(window, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    late = axes.transAxes.inverted().transform(axes.transData.transform((window, axes.get_ylim()[1])))[0] > 0.6
    axes.annotate(
        f"window {window:,}", (window, height), xycoords=axes.get_xaxis_transform(), va="top", color=INK,
        xytext=(-4 if late else 4, 0), textcoords="offset points", ha="right" if late else "left",
        bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
    )  # fmt: skip


def draw_dots(axes: Axes, x: Any, y: Any, *, size: float, colour: str, opacity: float = 1.0) -> None:
    """Draw dots as one path, however many: a page of ten thousand small elements is slow to read."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    x, y = np.asarray(x, float), np.asarray(y, float)
    if not len(x):
        return
    vertices = np.repeat(np.stack([x, y], axis=1), 2, axis=0)
    codes = np.tile(np.array([Path.MOVETO, Path.LINETO], np.uint8), len(x))
    path = Path(vertices, codes)
    path.should_simplify = False  # that would take lines of no length for nothing
    patch = PathPatch(path, facecolor="none", edgecolor=colour, alpha=opacity, linewidth=size, capstyle="round")
    axes.add_patch(patch)
