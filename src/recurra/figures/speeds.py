"""Measured speeds as bars, side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recurra.figures.canvas import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION, YELLOW, canvas, save

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = ["plot_speeds"]

OURS = "recurra"
PEERS = {
    "torch": VERMILION,
    "torch cell": YELLOW,
    "torch loop": ORANGE,
    "torch compiled": "#9A9A9A",
    "jax": GREEN,
    "onnxruntime": PURPLE,
}
FORCED = (SKY, "#B5DDF5", "#DDEFFA")
"""Of our backends by name, in the order in which they come."""
HEADINGS = {"train": "forward and backward", "infer": "forward", "step": "one step"}
PANEL = (4.6, 3.4)
MARGIN = 1.5
"""Inches above the panels, for heading and legend."""


def plot_speeds(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], *, machine: Mapping[str, Any]) -> None:
    """Draw the speed of every contender at every shape: a panel for each cell (across) and mode (down).

    Args:
        rows: as ``recurra bench engine --json`` prints them under "engine".
        path: of the PNG, which is replaced in one step.
        machine: as the same command prints it.
    Raises: RunError if the file cannot be written.
    """
    cells, modes = (list(dict.fromkeys(row[key] for row in rows)) for key in ("cell", "mode"))
    colours = _colours(list(dict.fromkeys(name for row in rows for name in row["speeds"])))
    width, height = PANEL[0] * max(2, len(cells)), PANEL[1] * len(modes) + MARGIN
    with canvas((width, height)) as figure:
        panels = figure.subplots(len(modes), len(cells), squeeze=False)
        for line, mode in zip(panels, modes, strict=True):
            for axes, cell in zip(line, cells, strict=True):
                chosen = [row for row in rows if (row["cell"], row["mode"]) == (cell, mode)]
                _draw(axes, chosen, mode, colours, machine["peak_gflops"])
                axes.set_title(f"{cell}, {HEADINGS[mode]}", fontsize=14, loc="left", parse_math=False)
        threads = f"{machine['threads']} thread{'s' * (machine['threads'] != 1)}"
        title = f"{machine['processor']}, {threads}, peak {machine['peak_gflops']:.0f} GF/s"
        figure.text(0.06, 1 - 0.42 / height, "Speed of recurrent layers", fontsize=20, fontweight="bold")
        figure.text(0.06, 1 - 0.74 / height, title, fontsize=14, color="#555555", parse_math=False)
        _add_legend(figure, colours, 1 - 0.8 / height)
        figure.tight_layout(rect=(0, 0, 1, 1 - 1.2 / height))
        save(figure, path)


def _colours(names: Sequence[str]) -> dict[str, str]:
    """Return the colour of every contender, ours first, in the order in which they are drawn."""
    forced = [name for name in names if name not in PEERS and name != OURS]
    ours = {OURS: BLUE, **{name: FORCED[k % len(FORCED)] for k, name in enumerate(forced)}}
    return {name: colour for name, colour in (ours | PEERS).items() if name in names}


def _draw(axes: Axes, rows: Sequence[Mapping[str, Any]], mode: str, colours: Mapping[str, str], peak: float) -> None:
    """Draw GF/s, or microseconds where single steps or a cell without products are shown."""
    by_time = mode == "step" or any(not row["operations"] for row in rows)
    names = [name for name in colours if any(name in row["speeds"] for row in rows)]
    width = 0.84 / max(1, len(names))
    for k, name in enumerate(names):
        places = [at + (k - (len(names) - 1) / 2) * width for at, row in enumerate(rows) if name in row["speeds"]]
        speeds = [row["speeds"][name] for row in rows if name in row["speeds"]]
        heights = [1e6 * speed["seconds"] if by_time else speed["gflops"] for speed in speeds]
        axes.bar(places, heights, width, color=colours[name])
    axes.set_xticks(range(len(rows)), [",".join(map(str, row["shape"])) for row in rows], fontsize=9, rotation=20)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("µs (less is better)" if by_time else "GF/s")
    if not by_time:
        axes.axhline(peak, color=INK, linewidth=1.0, linestyle=":")
        axes.annotate("peak", (1, peak), (0, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", fontsize=10, color=FAINT)  # fmt: skip


def _add_legend(figure: Any, colours: Mapping[str, str], top: float) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.05, top), ncols=len(handles), frameon=False, fontsize=11
    )
