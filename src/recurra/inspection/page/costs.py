"""Section 6: what a longer window costs."""

from __future__ import annotations

from recurra.figures import bytes_text, draw_memory, draw_time, percent
from recurra.inspection.cost import Cost
from recurra.inspection.page.parts import Chart, Section
from recurra.inspection.words import duration, plural

__all__ = ["cost_section"]

EXACT = 0.001
"""Relative error of a prediction that is none."""
CHEAPER = 0.9
"""Ratio of times from which a difference is not the machine's mood."""


def cost_section(cost: Cost | None, window: int | None) -> Section:
    """Memory and time by window."""
    heading = "Cost"
    if cost is None or not cost.points:
        return Section("cost", heading, missing="The cost of a window could not be measured.")
    points = sorted(cost.points, key=lambda point: point.window)
    windows = [point.window for point in points]
    measured = [point.memory_bytes for point in points]
    predicted = [point.predicted_bytes for point in points]
    per_step = (measured[-1] - measured[0]) / max(1, windows[-1] - windows[0])
    off = max(abs(m - p) / max(p, 1) for m, p in zip(measured, predicted, strict=True))
    held = " and holds for all" if off < EXACT else f"; what was measured is within {percent(off)} of it"
    memory, time = "Memory by window", "Time by window"
    first, last = points[0], points[-1]
    faster = last.seconds_per_token < CHEAPER * first.seconds_per_token
    shared = "; a long one shares the fixed costs of a step among more tokens" if faster else ""
    return Section(
        "cost",
        heading,
        lead=(
            "Back-propagation keeps what every step of a window computed until the gradient has come back through it. "
            f"All numbers are for {plural(cost.rows, 'row')} side by side, as in training."
        ),
        charts=[
            Chart(
                memory,
                f"Each step of a window keeps {bytes_text(per_step)}, so memory grows in proportion: "
                f"{bytes_text(measured[-1])} at {last.window:,} steps. The line is predicted from the two shortest "
                f"windows{held}. Output layer and loss keep "
                f"{bytes_text(last.loss_bytes)} on top.",
                draw_memory(windows, measured, predicted, window=window, title=memory),
            ),
            Chart(
                time,
                f"A token costs {duration(first.seconds_per_token)} in a window of {first.window:,} and "
                f"{duration(last.seconds_per_token)} in one of {last.window:,}. The work for a token is the same "
                f"however long the window{shared}.",
                draw_time(windows, [point.seconds_per_token for point in points], window=window, title=time),
            ),
        ],
    )
