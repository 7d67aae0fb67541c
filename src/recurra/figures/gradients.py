"""How far gradients travel back: their norm by lag, and what a truncated gradient misses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from recurra.figures.canvas import BLUE, CARD, FAINT, GRID, INK, VERMILION
from recurra.figures.marks import SERIES, list_names, mark_window, name_lines, show_powers, show_shares
from recurra.figures.vector import drawing, svg

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["Fade", "draw_norms", "draw_truncation"]

FADED = 0.01
LOWEST, HIGHEST = 1e-5, 1e6
"""What is drawn of norms: beyond lies rounding, or a gradient that has long exploded."""


class Fade(NamedTuple):
    """A line of norms with a band around it, by lag."""

    name: str
    lags: Sequence[int]
    norms: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def draw_norms(fades: Sequence[Fade], *, window: int | None, fades_at: int | None, title: str) -> str:
    """Draw norms by lag on a logarithmic axis, with their bands, the window, and where they fall to one per cent.

    Args:
        fades: one line each; all relative to the norm at lag 0.
        fades_at: lag at which the last of them falls below one per cent.
    """
    with drawing(2.9) as figure:
        axes = figure.subplots()
        colours = _colours(len(fades))
        for fade, colour in zip(fades, colours, strict=True):
            axes.fill_between(fade.lags, _kept(fade.low), _kept(fade.high), color=colour, alpha=0.16, linewidth=0)
            # what is below the frame leaves it, and does not run along its edge
            shown = [max(norm, LOWEST**4) if norm <= HIGHEST else math.nan for norm in fade.norms]
            axes.plot(fade.lags, shown, color=colour)
        values = [value for fade in fades for value in (*_kept(fade.norms), *_kept(fade.low), *_kept(fade.high))]
        show_powers(axes, min(0.5, *values) / (1.0 if min(values) <= LOWEST else 1.3), max(1.0, *values) * 1.6)
        last = max((_end(fade) for fade in fades), default=1)
        if window is not None and fades and window <= fades[0].lags[-1]:
            last = max(last, round(1.1 * window))
        axes.set_xlim(0, last)
        axes.set_xlabel("steps back in time")
        axes.set_title("gradient left", loc="left", color=INK)
        if axes.get_ylim()[0] < FADED:
            axes.axhline(FADED, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)))
        if fades_at is not None and fades:
            _mark_fading(axes, fades_at, last)
        names = [fade.name for fade in fades]
        stay = all(_kept(fade.norms)[-1] > LOWEST for fade in fades)
        mark_window(axes, window, height=0.98 if stay else 0.45)  # names stand in the corner that falling lines leave
        if stay:
            name_lines(axes, names, [_kept(fade.norms)[-1] for fade in fades], colours)
        else:
            list_names(axes, names[::-1], colours[::-1])
        return svg(
            figure, title, "Lines: norm of the gradient, as a share of that at lag 0, on a logarithmic axis, against "
            "steps back in time, one for each layer; bands: quartiles over positions of the text."
        )  # fmt: skip


def draw_truncation(
    windows: Sequence[int], errors: Sequence[float], cosines: Sequence[float], *, window: int | None, title: str
) -> str:
    """Draw the relative error of truncated gradients and their cosine with the whole gradient, by window."""
    from matplotlib.ticker import FixedLocator, NullLocator

    with drawing(2.9) as figure:
        axes = figure.subplots()
        axes.set_xscale("log", base=2)
        shown = [min(error, 2.0) for error in errors]
        for values, colour in ((cosines, BLUE), (shown, VERMILION)):
            axes.plot(windows, values, color=colour, marker="o", markersize=4, markeredgecolor=CARD, clip_on=False)
        axes.set_ylim(min(0.0, *cosines), max(1.0, *shown) * 1.04)
        axes.set_xlim(windows[0] * 0.9, windows[-1] * 1.1)
        every = max(1, -(-len(windows) // 8))
        axes.xaxis.set_major_locator(FixedLocator(list(windows)[::-1][::every]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        show_shares(axes.yaxis)
        axes.grid(axis="y", color=GRID)
        axes.set_xlabel("window (steps)")
        axes.set_title("truncated gradient against the whole", loc="left", color=INK)
        mark_window(axes, window, height=0.62)
        name_lines(axes, ["cosine", "error"], [cosines[-1], shown[-1]], [BLUE, VERMILION])
        return svg(
            figure, title, "Lines: cosine between truncated and whole gradient, and relative error of the truncated "
            "one, against the window on a logarithmic axis."
        )  # fmt: skip


def _mark_fading(axes: Axes, lag: int, last: int) -> None:
    axes.plot([lag], [FADED], marker="o", markersize=6, color=CARD, markeredgecolor=INK, markeredgewidth=1.2)
    late = lag > 0.6 * last
    axes.annotate(
        f"1 % after {lag:,} step{'s' * (lag != 1)}", (lag, FADED), xytext=(-8 if late else 8, 5),
        textcoords="offset points", ha="right" if late else "left", va="bottom", color=INK, zorder=6,
        bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
    )  # fmt: skip


def _end(fade: Fade) -> int:
    """Return the lag at which a line leaves the picture."""
    return next((lag for lag, norm in zip(fade.lags, fade.norms, strict=True) if norm < LOWEST), fade.lags[-1])


def _colours(count: int) -> list[str]:
    return [SERIES[k % len(SERIES)] for k in range(count)]


def _kept(values: Sequence[float], top: float = HIGHEST) -> list[float]:
    return [min(max(value, LOWEST), top) for value in values]
