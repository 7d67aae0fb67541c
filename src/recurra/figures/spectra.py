"""What a step does to a state: eigenvalues, singular values, Jacobians and Lyapunov exponents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recurra.figures.canvas import AXIS, BLUE, FAINT, GRID, INK, VERMILION
from recurra.figures.marks import SERIES, draw_dots, in_rows
from recurra.figures.vector import WIDTH, drawing, svg

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["Cloud", "draw_eigenvalues", "draw_exponents", "draw_jacobians", "draw_singular_values"]

COLUMNS = 4
"""Circles side by side: more would be too small to see on a phone."""
MOST_CIRCLES = 24
SMALLEST = 1e-2
"""Singular values that are drawn, as a share of the largest."""


class Cloud(NamedTuple):
    """The spectrum of one matrix."""

    layer: int
    name: str
    eigenvalues: Sequence[tuple[float, float]]
    singular_values: Sequence[float]
    radius: float


def draw_eigenvalues(clouds: Sequence[Cloud], *, title: str) -> str:
    """Draw the eigenvalues of each matrix in the complex plane, all to one scale, against the unit circle."""
    from matplotlib.patches import Circle

    shown = clouds[:MOST_CIRCLES]
    places = in_rows([cloud.layer for cloud in shown], COLUMNS)
    rows, columns = places[-1][0] + 1, max(2, 1 + max(column for _, column in places))
    single = len({cloud.layer for cloud in shown}) == len(shown)
    reach = 1.12 * max(1.0, *(abs(complex(*value)) for cloud in shown for value in cloud.eigenvalues))
    side = WIDTH / columns
    with drawing(rows * (side + 0.26), down=0.12) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for place, cloud in zip(places, shown, strict=True):
            axes = grid[place]
            axes.set_axis_on()
            axes.add_patch(Circle((0, 0), 1, facecolor="none", edgecolor=INK, linewidth=0.9))
            axes.axhline(0, color=GRID, linewidth=0.6, zorder=0)
            axes.axvline(0, color=GRID, linewidth=0.6, zorder=0)
            outside = np.array([abs(complex(*value)) > 1 for value in cloud.eigenvalues], bool)
            values = np.array(cloud.eigenvalues, float).reshape(-1, 2)
            for mask, colour in ((~outside, BLUE), (outside, VERMILION)):
                draw_dots(axes, *values[mask].T, size=2.2, colour=colour, opacity=0.75)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.set_title(f"layer {cloud.layer}" if single else cloud.name, pad=1)
            if place[1] == 0 and not single:
                axes.set_ylabel(f"layer {cloud.layer}", labelpad=1)
            axes.set_xlabel(f"ρ {cloud.radius:.2f}", color=VERMILION if cloud.radius > 1 else FAINT, labelpad=1)
        return svg(
            figure, title, "Dots: eigenvalues in the complex plane, one small plane for each matrix, the unit circle "
            "drawn in each; ρ is the largest absolute value."
        )  # fmt: skip


def draw_singular_values(clouds: Sequence[Cloud], *, title: str) -> str:
    """Draw the singular values of each matrix in order, a panel for each layer, the names of matrices as colours."""
    names = list(dict.fromkeys(cloud.name for cloud in clouds))
    layers = sorted({cloud.layer for cloud in clouds})
    columns = min(2, len(layers))
    rows = -(-len(layers) // columns)
    with drawing(1.0 + 1.75 * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, layer in zip(grid.flat, layers, strict=False):
            for cloud in (cloud for cloud in clouds if cloud.layer == layer):
                values = np.asarray(cloud.singular_values, float)
                place = np.linspace(0, 1, len(values)) if len(values) > 1 else np.zeros(1)
                colour = SERIES[names.index(cloud.name) % len(SERIES)]
                axes.plot(place, values, color=colour, label=cloud.name.lstrip("_") if layer == layers[0] else None)
            axes.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
            axes.set_yscale("log")
            axes.set_ylim(*_reach(clouds))
            axes.set_title(f"layer {layer}", loc="left")
            axes.set_xticks([0, 0.5, 1], ["largest", "", "smallest"])
            for tick, side in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
                tick.set_horizontalalignment(side)
            _plain_numbers(axes)
        for axes in grid.flat[len(layers) :]:
            axes.set_axis_off()
        figure.legend(loc="outside upper left", ncols=min(len(names), 6), frameon=False, handlelength=1.2,
                      columnspacing=1.2, borderpad=0.6)  # fmt: skip
        return svg(
            figure, title, "Lines: singular values of each recurrent matrix from the largest to the smallest, on a "
            "logarithmic axis; a panel for each layer, a line at 1."
        )  # fmt: skip


def draw_jacobians(layers: Sequence[tuple[int, Sequence[float], Sequence[float]]], *, title: str) -> str:
    """Draw spectral radii and norms of a step's Jacobian along a text, a pair of strips for each layer.

    Args:
        layers: (layer, radii, norms).
    """
    with drawing(1.5 + 0.55 * len(layers)) as figure:
        axes = figure.subplots()
        axes.axvline(1, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        for row, (_, radii, norms) in enumerate(layers):
            for values, colour, shift in ((radii, BLUE, 0.16), (norms, VERMILION, -0.16)):
                draw_dots(axes, values, [row + shift] * len(values), size=5, colour=colour, opacity=0.45)
                middle = float(np.median(values)) if len(values) else 1.0
                axes.plot([middle] * 2, [row + shift - 0.15, row + shift + 0.15], color=colour, linewidth=2)
        every = [value for _, radii, norms in layers for value in (*radii, *norms)]
        axes.set_xlim(0, 1.08 * max(1.05, *every))
        axes.set_ylim(-0.5, len(layers) - 0.5)
        axes.set_yticks(range(len(layers)), [f"layer {layer}" for layer, _, _ in layers])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=GRID)
        axes.set_title("spectral radius", loc="left", color=BLUE)
        axes.set_title("largest singular value", loc="right", color=VERMILION)
        axes.set_xlabel("factor per step")
        return svg(
            figure, title, "Dots: spectral radius and largest singular value of the Jacobian of single steps along "
            "the text, two rows for each layer, ticks at their medians; a line at 1."
        )  # fmt: skip


def draw_exponents(exponents: Sequence[float], errors: Sequence[float], *, title: str) -> str:
    """Draw Lyapunov exponents, largest first, with bars of two standard errors, against zero."""
    with drawing(2.6) as figure:
        axes = figure.subplots()
        places = np.arange(1, len(exponents) + 1)
        axes.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.errorbar(places, exponents, yerr=2 * np.asarray(errors), fmt="none", ecolor=AXIS, elinewidth=2.5)
        for sign, colour in ((False, BLUE), (True, VERMILION)):
            chosen = (np.asarray(exponents) > 0) == sign
            axes.plot(places[chosen], np.asarray(exponents)[chosen], "o", color=colour, markersize=5)
        low, high = axes.get_ylim()
        axes.set_ylim(low, max(high, 0.08 * (high - low)))
        axes.set_xlim(0.5, len(exponents) + 0.5)
        axes.set_xticks(places if len(places) <= 12 else places[::4])
        axes.set_xlabel("exponent, largest first")
        axes.set_title("nats per step", loc="left", color=INK)
        axes.annotate("above: drifts apart", (1, 0), xycoords=axes.get_yaxis_transform(), xytext=(0, 3),
                      textcoords="offset points", ha="right", va="bottom", color=FAINT)  # fmt: skip
        return svg(figure, title, "Dots with bars: Lyapunov exponents in nats per step with two standard errors.")


def _reach(clouds: Sequence[Cloud]) -> tuple[float, float]:
    """Return the singular values to show: some are so near to 0 that the others would stand in a heap."""
    largest = max(1.0, *(value for cloud in clouds for value in cloud.singular_values))
    smallest = min(value for cloud in clouds for value in cloud.singular_values)
    return max(smallest, largest * SMALLEST) / 1.2, largest * 1.2


def _plain_numbers(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
