"""What a longer window costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recurra.figures.canvas import AXIS, BLUE, CARD, GRID, INK
from recurra.figures.marks import mark_window
from recurra.figures.vector import drawing, svg

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["bytes_text", "draw_memory", "draw_time"]

UNITS = ("B", "kB", "MB", "GB", "TB")


def bytes_text(count: float) -> str:
    """Write bytes with three digits, in thousands."""
    power = 0
    while abs(count) >= 999.5 and power < len(UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.3g} {UNITS[power]}"


def draw_memory(
    windows: Sequence[int], measured: Sequence[int], predicted: Sequence[int], *, window: int | None, title: str
) -> str:
    """Draw bytes by window, both logarithmic: as measured, dots; and as predicted, a line."""
    with drawing(2.7) as figure:
        axes = figure.subplots()
        axes.set_yscale("log")
        axes.plot(windows, predicted, color=AXIS, linewidth=1.4)
        axes.plot(windows, measured, "o", color=BLUE, markersize=6, markeredgecolor=CARD)
        _label_windows(axes, windows)
        low, high = min(*measured, *predicted), max(*measured, *predicted)
        axes.set_ylim(low / 2, high * 3)
        axes.yaxis.set_major_formatter(lambda value, _: bytes_text(value))
        axes.yaxis.set_minor_formatter(lambda value, _: "")
        axes.set_title("memory of one window", loc="left", color=INK)
        mark_window(axes, window)
        for place, value in zip(windows, measured, strict=True):
            last = place == windows[-1]
            axes.annotate(bytes_text(value), (place, value), xytext=(-7, 2) if last else (6, -2),
                          textcoords="offset points", ha="right" if last else "left", va="bottom" if last else "top",
                          color=INK)  # fmt: skip
        return svg(figure, title, "Dots: bytes that one window keeps, against its steps, both axes logarithmic; "
                   "line: as predicted from the two shortest windows.")  # fmt: skip


def draw_time(windows: Sequence[int], seconds: Sequence[float], *, window: int | None, title: str) -> str:
    """Draw microseconds per token by window."""
    with drawing(2.7) as figure:
        axes = figure.subplots()
        micros = [1e6 * value for value in seconds]
        axes.plot(windows, micros, color=BLUE, marker="o", markersize=6, markeredgecolor=CARD)
        _label_windows(axes, windows)
        axes.set_ylim(0, 1.25 * max(micros))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
        axes.grid(axis="y", color=GRID)
        axes.set_title("microseconds per token", loc="left", color=INK)
        mark_window(axes, window)
        return svg(figure, title, "Line: microseconds that training takes per token, against the window's steps, the "
                   "latter on a logarithmic axis.")  # fmt: skip


def _label_windows(axes: Axes, windows: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log", base=2)
    axes.set_xlim(windows[0] / 1.7, windows[-1] * 1.3)
    axes.xaxis.set_major_locator(FixedLocator(list(windows)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("window (steps)")
