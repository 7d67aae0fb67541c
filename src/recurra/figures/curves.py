"""The curves of a run as a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recurra.figures.canvas import BLUE, FAINT, GREEN, INK, PURPLE, VERMILION, canvas, save, write_heading
from recurra.figures.series import Row, Series, first_failure, read_series, setbacks, smoothed
from recurra.figures.verdict import verdict

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["plot_curves"]

FEW = 40
"""Points that are few enough to be marked one by one."""
LARGEST_EXPONENT = 50


def plot_curves(rows: Sequence[Row], path: str | os.PathLike[str], *, title: str) -> None:
    """Draw loss, gradient norm and learning rate over the steps of a run, 1200 x 800, with the verdict below the title.

    The file is replaced in one step.

    Args:
        rows: of metrics.jsonl.
        path: of the PNG.
    Raises: RunError if the file cannot be written.
    """
    with canvas() as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, 1])
        figure.subplots_adjust(left=0.085, right=0.915, top=0.875, bottom=0.085, hspace=0.1)
        write_heading(figure, title, verdict(rows))
        _draw_losses(upper, rows)
        _draw_optimization(lower, rows)
        _label_steps(lower, rows)
        figure.align_ylabels([upper, lower])
        save(figure, path)


def _draw_losses(axes: Axes, rows: Sequence[Row]) -> None:
    train, valid = read_series(rows, "loss_nats"), read_series(rows, "valid_loss_nats")
    smooth = smoothed(train)
    shown: list[Any] = []
    if len(train.steps) > FEW:
        axes.plot(*train, color=BLUE, alpha=0.22, linewidth=1.0)
        shown += axes.plot(*smooth, color=BLUE, label="training (smoothed)")
    elif len(train.steps):
        shown += axes.plot(*train, color=BLUE, label="training", **_marks(train))
    if len(valid.steps):
        shown += axes.plot(*valid, color=VERMILION, label="validation", **_marks(valid))
        shown += _mark_best(axes, valid)
    failed = first_failure(rows, "loss_nats")
    if failed is not None:
        shown.append(axes.axvline(failed, color=INK, linestyle=":", label=f"not a number at step {failed:,}"))
    shown += _mark_setbacks(axes, rows)
    _limit(axes, [*smooth.values, *valid.values], train)
    axes.set_ylabel("loss (nats per token)")
    if shown:
        axes.legend(handles=shown, loc="best", frameon=True, framealpha=0.9, edgecolor="none")
        _add_perplexity(axes)


def _mark_setbacks(axes: Axes, rows: Sequence[Row]) -> list[Any]:
    """Shade the steps that were taken back and made again; one entry in the legend stands for all."""
    drawn: list[Any] = []
    for wrong in setbacks(rows):
        back = wrong["step"] if wrong["back_to"] is None else wrong["back_to"]
        drawn.append(axes.axvspan(back, wrong["step"], color=PURPLE, alpha=0.12, linewidth=0))
        drawn.append(axes.axvline(wrong["step"], color=PURPLE, linestyle=":", label="went wrong and back"))
        if wrong["back_to"] is None:
            drawn[-1].set_label(f"diverged at step {wrong['step']:,}")
    return drawn[-1:]


def _marks(series: Series) -> dict[str, Any]:
    return {"marker": "o", "markersize": 5} if len(series.steps) <= FEW else {}


def _mark_best(axes: Axes, valid: Series) -> list[Any]:
    best = int(valid.values.argmin())
    step, loss = valid.steps[best], valid.values[best]
    perplexity = f", perplexity {_perplexity(loss)}," if _perplexity(loss) else ""
    ring = {"marker": "o", "color": "white", "markeredgecolor": VERMILION, "markeredgewidth": 2.5, "markersize": 11}
    label = f"best: {loss:.3f}{perplexity} at step {step:,.0f}"
    return axes.plot([step], [loss], linestyle="none", zorder=3, label=label, **ring)  # type: ignore[arg-type]


def _limit(axes: Axes, important: list[float], raw: Series) -> None:
    """Show the curves whole and most of the raw points."""
    if not important:
        return
    usual = np.quantile(raw.values, [0.02, 0.98]).tolist() if len(raw.steps) else []
    low, high = min(*important, *usual), max(*important, *usual)
    space = (high - low) or 0.1 * max(high, 1.0)
    axes.set_ylim(low - 0.08 * space, high + 0.08 * space)


def _add_perplexity(axes: Axes) -> None:
    """Label the grid lines on the right with perplexities."""
    from matplotlib.ticker import FuncFormatter

    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: _perplexity(loss)))
    right.grid(visible=False)
    right.set_ylabel("perplexity", color=FAINT)


def _perplexity(loss: float) -> str:
    if loss > LARGEST_EXPONENT:
        return ""
    value = math.exp(loss)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _draw_optimization(axes: Axes, rows: Sequence[Row]) -> None:
    norm, rate = read_series(rows, "grad_norm"), read_series(rows, "lr")
    axes.set_ylabel("gradient norm", color=GREEN)
    if len(norm.steps) > FEW and norm.values.min() > 0:
        axes.plot(*norm, color=GREEN, alpha=0.22, linewidth=1.0)
        # The geometric mean, which a single huge gradient does not move far.
        axes.plot(norm.steps, np.exp(smoothed(norm._replace(values=np.log(norm.values))).values), color=GREEN)
    else:
        axes.plot(*norm, color=GREEN, **_marks(norm))
    _start_at_zero(axes, norm)
    if len(norm.steps) and norm.values.max() > 30 * np.median(norm.values) > 0:
        axes.set_yscale("log")
        axes.autoscale(axis="y")
    right = axes.twinx()
    right.plot(*rate, color=PURPLE, linestyle="--", **_marks(rate))
    right.set_ylabel("learning rate", color=PURPLE)
    right.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    right.grid(visible=False)
    _start_at_zero(right, rate)


def _start_at_zero(axes: Axes, series: Series) -> None:
    if len(series.steps):
        axes.set_ylim(0, 1.1 * series.values.max() or 1.0)
    else:
        axes.set_yticks([])


def _label_steps(axes: Axes, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    epochs = max((row.get("epoch") or 0 for row in rows), default=0)
    axes.set_xlabel(f"step ({epochs:,} epoch{'s' * (epochs != 1)})" if epochs else "step")
    axes.set_xlim(0, 1.02 * max((row["step"] for row in rows), default=0) or 1)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
