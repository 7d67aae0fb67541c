"""The looks that all pictures share, and how one is written."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recurra.errors import RunError

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.figure import Figure

__all__ = [
    "AXIS",
    "BLUE",
    "CARD",
    "FAINT",
    "GREEN",
    "GRID",
    "INK",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILION",
    "YELLOW",
    "canvas",
    "save",
    "write_heading",
]

# Okabe & Ito 2008: told apart by every kind of colour vision.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4C86"
SKY, ORANGE, YELLOW = "#56B4E9", "#E69F00", "#F0E442"
INK, FAINT = "#222222", "#767676"
AXIS, GRID, CARD = "#B0B0B0", "#E8E8E8", "#FFFFFF"
STYLE: dict[Any, Any] = {
    "font.family": ["sans-serif"],
    "font.size": 13,
    "text.color": INK,
    "axes.edgecolor": AXIS,
    "axes.labelcolor": INK,
    "axes.formatter.useoffset": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "lines.linewidth": 2.0,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}
INCHES = (12.0, 8.0)
DPI = 100
LONGEST_TITLE, LONGEST_SUBTITLE = 60, 108


@contextmanager
def canvas(inches: tuple[float, float] = INCHES) -> Iterator[Figure]:
    """Yield an empty figure to draw on in the style of all pictures; the settings of matplotlib stay as they are."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A title in a script without a font is drawn as boxes, and a legend finds its place slowly at times: no reason
        # to trouble anybody.
        warnings.filterwarnings("ignore", category=UserWarning, module="matplotlib|recurra")
        yield Figure(figsize=inches, dpi=DPI, facecolor="white")


def write_heading(figure: Figure, title: str, subtitle: str) -> None:
    """Write what is shown above it."""
    # A name is not mathematics, whatever dollar signs it holds.
    title, subtitle = (
        text if len(text) <= longest else f"{text[: longest - 1]}…"
        for text, longest in ((title, LONGEST_TITLE), (subtitle, LONGEST_SUBTITLE))
    )
    figure.text(0.085, 0.945, title, fontsize=20, fontweight="bold", parse_math=False)
    figure.text(0.085, 0.905, subtitle, fontsize=14, color="#555555", parse_math=False)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG; the file is replaced in one step.

    Raises: RunError if it cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    _replace(Path(path), buffer.getvalue())


def _replace(path: Path, data: bytes) -> None:
    scratch = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_bytes(data)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot draw {path}: {error.strerror or error}") from error
