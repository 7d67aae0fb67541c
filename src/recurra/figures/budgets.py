"""What more training buys: a measure over budgets, a line for each way to train."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from recurra.figures.canvas import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, canvas, save, write_heading

__all__ = ["plot_budgets"]

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)


def plot_budgets(
    lines: Mapping[str, Mapping[int, Sequence[float]]],
    path: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str,
    budget: str = "epochs",
    measure: str = "perplexity",
) -> None:
    """Draw means over budgets, both on scales of equal factors, with a dot for each seed, 1200 x 800.

    Args:
        lines: by name, for each budget the values of all seeds; at least one.
        path: of the PNG, which is replaced in one step.
        budget, measure: what the axes are called.
    Raises: RunError if the file cannot be written.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    budgets = sorted({number for values in lines.values() for number in values})
    with canvas() as figure:
        figure.subplots_adjust(left=0.085, right=0.8, top=0.84, bottom=0.1)
        write_heading(figure, title, subtitle)
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for colour, (name, values) in zip(COLOURS * len(lines), lines.items(), strict=False):
            places = sorted(values)
            means = [float(np.mean(values[place])) for place in places]
            axes.plot(places, means, color=colour, linewidth=2.5)
            dots = [(place, value) for place in places for value in values[place]]
            axes.plot(*zip(*dots, strict=True), "o", color=colour, markersize=6, clip_on=False)
            axes.annotate(
                name, (places[-1], means[-1]), (14, 0), textcoords="offset points", color=colour, va="center",
                parse_math=False,
            )  # fmt: skip
        plain = FuncFormatter(lambda value, _: f"{value:,.4g}")
        axes.xaxis.set_major_locator(FixedLocator(budgets))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(plain)
            axis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        axes.yaxis.set_major_locator(FixedLocator(_ticks(lines)))
        axes.set_xlabel(budget)
        axes.set_ylabel(measure)
        save(figure, path)


def _ticks(lines: Mapping[str, Mapping[int, Sequence[float]]]) -> list[float]:
    """Return some round numbers between the smallest and the largest value."""
    values = [value for line in lines.values() for seeds in line.values() for value in seeds]
    low, high = min(values) / 1.1, max(values) * 1.1
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), np.arange(1, 10, 0.2).tolist()):
        ticks = [s * 10.0**e for e in range(-3, 7) for s in steps if low <= s * 10.0**e <= high]
        if len(ticks) >= 4:
            break
    return ticks
