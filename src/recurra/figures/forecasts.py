"""Forecasts from several origins: what was known, what came, and how sure the forecast was."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recurra.figures.canvas import BLUE, FAINT, INK, SKY, VERMILION, canvas, save, write_heading
from recurra.figures.marks import percent
from recurra.figures.naming import shorten

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BANDS", "Fan", "Trajectory", "fan", "plot_forecast"]

BANDS = (0.5, 0.8, 0.9)
"""Shares of the probability that bands hold."""
MOST_PANELS = 6
SHOWN = 2
"""How many times as long as the forecast the history is that is drawn; at least this many steps:"""
FEWEST = 30
MOST_PATHS = 30
"""Samples of a trajectory that are drawn."""


class Fan(NamedTuple):
    """A forecast of one number.

    Args:
        title: where it was made, for the panel.
        history: (H,) what was known, the latest last.
        median: (S,) what was forecast.
        bands: share of the probability -> (low (S,), high (S,)).
        truth: (S,) or shorter; None if it is not known.
    """

    title: str
    history: Any
    median: Any
    bands: Mapping[float, tuple[Any, Any]]
    truth: Any = None


class Trajectory(NamedTuple):
    """A forecast of a place in the plane.

    Args:
        title: for the panel.
        history: (H, 2).
        median: (S, 2).
        samples: (N, S, 2) possible paths; None for none.
        truth: (S, 2) or shorter; None if it is not known.
    """

    title: str
    history: Any
    median: Any
    samples: Any = None
    truth: Any = None


def fan(title: str, history: Any, samples: Any, truth: Any = None) -> Fan:
    """Make a fan of samples (N, S): their median, and the central intervals of 50, 80 and 90 %."""
    samples = np.asarray(samples, np.float64)
    low, high = [0.5 - share / 2 for share in BANDS], [0.5 + share / 2 for share in BANDS]
    edges = zip(np.quantile(samples, low, 0), np.quantile(samples, high, 0), strict=True)
    return Fan(title, history, np.median(samples, 0), dict(zip(BANDS, edges, strict=True)), truth)


def plot_forecast(
    panels: Sequence[Fan | Trajectory], path: str | os.PathLike[str], *, title: str, subtitle: str = "", unit: str = ""
) -> None:
    """Draw forecasts, 1200 x 800, a panel for each origin: history, truth, median, and bands or possible paths.

    Args:
        panels: up to six.
        path: of the PNG, which is replaced in one step.
        unit: of the numbers, along the vertical axis.
    Raises: RunError if the file cannot be written.
    """
    panels = panels[:MOST_PANELS]
    paths = any(isinstance(panel, Trajectory) for panel in panels)
    rows, columns = _shape(len(panels), paths)
    with canvas() as figure:
        write_heading(figure, title, subtitle)
        figure.subplots_adjust(left=0.085, right=0.97, top=0.79, bottom=0.085, hspace=0.38, wspace=0.16)
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.set_title(shorten(panel.title, 90 // columns), fontsize=13, loc="left", pad=8, parse_math=False)
            if isinstance(panel, Trajectory):
                _draw_path(axes, panel)
            else:
                _draw_fan(axes, panel)
            if not paths and number % columns == 0:
                axes.set_ylabel(unit, parse_math=False)
            if not paths and number >= len(panels) - columns:
                axes.set_xlabel("steps from the origin")
        _frame(
            [(axes, panel) for axes, panel in zip(figure.axes, panels, strict=True) if isinstance(panel, Trajectory)]
        )
        _explain(figure, panels)
        save(figure, path)


def _shape(count: int, paths: bool) -> tuple[int, int]:
    """Return rows and columns: fans stand above each other, paths side by side."""
    columns = min(count, 3) if paths and count != 4 else 1 + (count > 3)
    return max(1, -(-count // max(columns, 1))), max(columns, 1)


def _draw_fan(axes: Axes, panel: Fan) -> None:
    history, median = np.asarray(panel.history, np.float64), np.asarray(panel.median, np.float64)
    history = history[-max(SHOWN * len(median), FEWEST) :]
    steps = np.arange(1, len(median) + 1)
    now = history[-1:]  # bands and lines begin at what was known last
    for share in sorted(panel.bands, reverse=True):
        low, high = (np.append(now, edge) for edge in panel.bands[share])
        axes.fill_between(np.arange(1 - len(now), len(steps) + 1), low, high, color=_shade(share), linewidth=0)
    axes.plot(np.arange(1 - len(history), 1), history, color=FAINT, linewidth=1.5)
    if panel.truth is not None and len(panel.truth):
        truth = np.append(now, np.asarray(panel.truth, np.float64))
        axes.plot(np.arange(1 - len(now), len(truth) + 1 - len(now)), truth, color=VERMILION, linewidth=1.5, zorder=3)
    axes.plot(np.arange(1 - len(now), len(steps) + 1), np.append(now, median), color=BLUE)
    axes.axvline(0, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.margins(x=0.01)


def _draw_path(axes: Axes, panel: Trajectory) -> None:
    history, median = np.asarray(panel.history, np.float64), np.asarray(panel.median, np.float64)
    now = history[-1:]
    for sample in [] if panel.samples is None else panel.samples[:MOST_PATHS]:
        axes.plot(*np.concatenate([now, sample]).T, color=SKY, alpha=0.3, linewidth=1.0)
    axes.plot(*history.T, color=FAINT, linewidth=1.5)
    if panel.truth is not None and len(panel.truth):
        axes.plot(*np.concatenate([now, np.asarray(panel.truth)]).T, color=VERMILION, linewidth=1.5)
    axes.plot(*np.concatenate([now, median]).T, color=BLUE)
    axes.plot(*now.T, marker="o", markersize=7, color=INK, linestyle="none", zorder=3)
    axes.set_aspect("equal", adjustable="box")


def _frame(drawn: Sequence[tuple[Axes, Trajectory]]) -> None:
    """Give all trajectories the same square."""
    points = [np.asarray(part) for _, panel in drawn for part in (panel.history, panel.median, panel.truth)
              if part is not None and len(part)]  # fmt: skip
    if not points:
        return
    low, high = np.concatenate(points).min(0), np.concatenate(points).max(0)
    middle, half = (low + high) / 2, max(0.55 * float((high - low).max()), 1e-9)
    for axes, _ in drawn:
        axes.set_xlim(middle[0] - half, middle[0] + half)
        axes.set_ylim(middle[1] - half, middle[1] + half)


def _shade(share: float) -> tuple[float, float, float]:
    """Return a blue that is the lighter the more a band holds."""
    return (0.4 + 0.5 * share, 0.69 + 0.265 * share, 0.85 + 0.13 * share)


def _explain(figure: Figure, panels: Sequence[Fan | Trajectory]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], color=FAINT, label="history")]
    if any(panel.truth is not None for panel in panels):
        handles.append(Line2D([], [], color=VERMILION, label="truth"))
    handles.append(Line2D([], [], color=BLUE, label="forecast (median)"))
    shares = {share for panel in panels if isinstance(panel, Fan) for share in panel.bands}
    handles += [Patch(color=_shade(share), label=percent(share)) for share in sorted(shares)]
    if any(isinstance(panel, Trajectory) and panel.samples is not None for panel in panels):
        handles.append(Line2D([], [], color=SKY, alpha=0.6, linewidth=1.0, label="possible paths"))
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.075, 0.893), ncols=len(handles), frameon=False, fontsize=12
    )
