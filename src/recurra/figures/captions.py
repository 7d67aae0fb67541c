"""Pictures with what was written about them, and what was looked at for every word."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.figures.canvas import GREEN, INK, VERMILION, canvas, save, write_heading
from recurra.figures.naming import bare, shorten, wrap

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Captioned", "grid_of", "plot_captions"]

MOST_IN_ROW, MOST_ROWS = 4, 3
TOP, BOTTOM, SIDE = 0.875, 0.015, 0.02
"""Where pictures begin and end, and space at the sides, as shares of the picture."""
STRIP = 0.143
"""Height of what was looked at for the words of a picture."""
BELOW, LINE, GAP = 0.11, 0.0235, 0.01
"""Height of the words under a picture, of a line of them, and space around a picture."""
CHARACTERS, LINES = 144, 2
"""Characters of all texts side by side, and lines of each text."""
LEAST = 1e-9
"""Weight that glows, where all are smaller."""
WORDS = 12
"""Words at most whose attention is drawn."""


class Captioned(NamedTuple):
    """A picture and what was written about it.

    Args:
        picture: (H, W) or (H, W, C), bytes or 0 … 1.
        written: the caption.
        reference: the true one; None if it is not known.
        tokens: S written ones.
        attention: (S, T) weights of the places of a grid over the picture, row by row; None without attention.
    """

    picture: NDArray[Any]
    written: str
    reference: str | None = None
    tokens: Sequence[str] = ()
    attention: NDArray[Any] | None = None


def plot_captions(
    captioned: Sequence[Captioned], path: str | os.PathLike[str], *, title: str, subtitle: str = ""
) -> None:
    """Draw pictures with their captions, 1200 x 800; below, for two of them, the attention of every word.

    Args:
        captioned: up to 12 are drawn; up to 8 where attention is known.
        path: of the PNG, which is replaced in one step.
    Raises: RunError if the file cannot be written.
    """
    seen = [each for each in captioned if each.attention is not None and len(each.attention)][:2]
    shown = captioned[: MOST_IN_ROW * (MOST_ROWS - bool(seen))]
    columns = min(len(shown), MOST_IN_ROW)
    width = (1 - 2 * SIDE) / max(columns, 1)
    height = (TOP - BOTTOM - STRIP * len(seen)) / max(math.ceil(len(shown) / max(columns, 1)), 1)
    with canvas() as figure:
        write_heading(figure, title, subtitle)
        for number, each in enumerate(shown):
            row, column = divmod(number, columns)
            _draw(figure, each, (SIDE + column * width, TOP - (row + 1) * height, width, height))
        for number, each in enumerate(reversed(seen)):
            _draw_words(figure, each, BOTTOM + number * STRIP)
        save(figure, path)


def grid_of(places: int, height: int, width: int) -> tuple[int, int]:
    """Return (rows, columns) of so many places, as near as can be to the shape of a picture."""
    options = [(rows, places // rows) for rows in range(1, places + 1) if places % rows == 0]
    return min(options, key=lambda shape: abs(math.log(shape[1] * height / (shape[0] * width))))


def _draw(figure: Figure, each: Captioned, box: tuple[float, float, float, float]) -> None:
    left, bottom, width, height = box
    place = (left + GAP, bottom + BELOW, width - 2 * GAP, height - BELOW - GAP)
    _show(figure.add_axes(place, anchor="S"), each.picture)
    differs = each.reference is not None and each.reference.split() != each.written.split()
    colour = INK if each.reference is None else VERMILION if differs else GREEN
    characters = int(CHARACTERS * width)
    written = wrap(each.written, characters, LINES) or "(nothing)"
    middle, top = left + width / 2, bottom + BELOW - 0.006
    style: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 11, "linespacing": 1.1, "parse_math": False}
    figure.text(middle, top, written, color=colour, **style)
    if differs:
        top -= LINE * (1 + written.count("\n"))
        figure.text(middle, top, wrap(f"truth: {each.reference}", characters, LINES), color="#555555", **style)


def _draw_words(figure: Figure, each: Captioned, bottom: float) -> None:
    """Draw the picture once for every token, with its attention over it."""
    from matplotlib.colors import LinearSegmentedColormap

    assert each.attention is not None
    glow = LinearSegmentedColormap.from_list("glow", [(0.84, 0.37, 0.0, 0.0), (0.84, 0.37, 0.0, 0.85)])
    height, width = each.picture.shape[:2]
    highest = max(float(np.max(each.attention)), LEAST)  # the same for all words: even weights are faint
    count = min(len(each.tokens), len(each.attention), WORDS)
    room = (1 - 2 * SIDE) / max(count, 8)
    for number in range(count):
        axes = figure.add_axes((SIDE + number * room, bottom, 0.95 * room, STRIP - 0.034))
        _show(axes, each.picture, strength=0.75)
        weights = np.asarray(each.attention[number], np.float64)
        weights = weights.reshape(grid_of(len(weights), height, width))
        box = (-0.5, width - 0.5, height - 0.5, -0.5)
        axes.imshow(weights, cmap=glow, vmin=0, vmax=highest, extent=box, interpolation="bilinear")
        word = shorten(bare(each.tokens[number]), max(4, int(110 * room)))
        axes.set_title(word, fontsize=11, pad=3, parse_math=False)


def _show(axes: Axes, picture: NDArray[Any], strength: float = 1.0) -> None:
    shown = np.asarray(picture)
    shown = shown[..., 0] if shown.ndim == 3 and shown.shape[2] == 1 else shown
    highest = 255 if shown.dtype == np.uint8 else 1
    shown = np.clip(shown / highest, 0, 1)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, alpha=strength)
    axes.set_axis_off()
