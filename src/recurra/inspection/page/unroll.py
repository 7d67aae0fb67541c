"""Section 1: the network over a few tokens. State flows to the right, gradient to the left."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from recurra.figures import percent
from recurra.inspection.page.canvas import Canvas
from recurra.inspection.page.parts import Section
from recurra.inspection.unrolled import Unrolled
from recurra.inspection.words import steps, visible

__all__ = ["draw_unrolled", "unrolled_section"]

MOST_ROWS = 4
"""Rows that a long text is folded into; of a longer one the end is shown."""
MOST_LAYERS = 4
WIDEST = 15.0
"""Pixels of the widest gradient."""
THINNEST = 0.8
SMALLEST = 1e-4
"""Gradients that are written down; less has no room, and no meaning."""


class Measures(NamedTuple):
    """Sizes in pixels, for a screen of some width."""

    name: str
    columns: int
    pitch: float
    box: float
    margin: float
    right: float
    token: int
    """Characters of a token that there is room for."""
    layer: float = 78.0
    height: float = 44.0


DESKTOP = Measures("wide", columns=8, pitch=112.0, box=52.0, margin=112.0, right=0.0, token=10)
PHONE = Measures("narrow", columns=4, pitch=84.0, box=38.0, margin=0.0, right=12.0, token=8)


def unrolled_section(unrolled: Unrolled | None) -> Section:
    """The picture, for desktops and for phones."""
    heading = "The unrolled network"
    if unrolled is None or not unrolled.tokens:
        return Section("unrolled", heading, missing="The unrolled network could not be drawn.")
    return Section(
        "unrolled",
        heading,
        lead=(
            "A recurrent network reads one token per step and hands its state to the next step. Drawn over time, it is "
            "a deep network whose layers share their weights, and learning sends a gradient back through all of it."
        ),
        wide=[draw_unrolled(unrolled, DESKTOP), draw_unrolled(unrolled, PHONE)],
        wide_caption=_caption(unrolled),
    )


def draw_unrolled(unrolled: Unrolled, sizes: Measures = DESKTOP) -> str:
    """Return the picture as SVG: rows of columns, one column for each token, read like a text."""
    return _Picture(unrolled, sizes).draw()


def _caption(unrolled: Unrolled) -> str:
    window, count = unrolled.window, len(unrolled.tokens)
    first = unrolled.gradients[-1][0] if unrolled.gradients and unrolled.gradients[-1] else None
    left = "" if first is None else f" At the first of these states {percent(first)} of the largest is left."
    if window is None:
        cut = "Training leaves no gradient out."
    elif window >= count:
        cut = f"Training cuts the gradient after {steps(window)}, further left than this picture reaches."
    else:
        cut = f"Training cuts the gradient after {steps(window)}: what lies left of the scissors is never learned from."
    return (
        "Blue, to the right: the state. Orange, to the left: the gradient of the last loss, as wide as its norm."
        f"{left} {cut} On top: the token that comes next, and the probability that the network gave to it."
    )


class _Picture:
    """The picture while it is drawn."""

    def __init__(self, unrolled: Unrolled, sizes: Measures) -> None:
        self.sizes, self.unrolled = sizes, unrolled
        self.count = len(unrolled.tokens)
        rows = min(MOST_ROWS, math.ceil(self.count / sizes.columns))
        self.first = max(0, self.count - rows * sizes.columns)
        self.layers = _shown(len(unrolled.gradients))
        self.top = 58.0
        self.row_height = self.top + len(self.layers) * sizes.layer + 66.0
        self.rows = rows
        self.largest = max((g for layer in unrolled.gradients for g in layer), default=1.0) or 1.0
        self.width = sizes.margin + sizes.columns * sizes.pitch + sizes.right
        description = (
            f"{steps(self.count)} from left to right, {len(unrolled.layers)} layers from bottom to top; below the "
            f"tokens {' '.join(visible(token, 60) for token in unrolled.tokens)}."
        )
        self.canvas = Canvas(f"unrolled-{sizes.name}", f"The unrolled network ({sizes.name})", description)

    def draw(self) -> str:
        for t in range(self.first, self.count):
            self._column(t)
        for row, layer in enumerate(self.layers):
            if layer is not None:
                self._layer(row, layer)
            else:
                self._left_out(row)
        self._cut()
        return self.canvas.finish(self.width, self.rows * self.row_height + 4)

    def _place(self, t: int) -> tuple[float, float]:
        """Return the middle of a column and the top of its row."""
        row, column = divmod(t - self.first, self.sizes.columns)
        return self.sizes.margin + (column + 0.5) * self.sizes.pitch, row * self.row_height

    def _height(self, row: int, top: float) -> float:
        """Return the middle of a layer's boxes; layers stand from bottom to top."""
        return top + self.top + (len(self.layers) - 1 - row + 0.5) * self.sizes.layer

    def _column(self, t: int) -> None:
        canvas, sizes = self.canvas, self.sizes
        (x, top), half = self._place(t), self.sizes.height / 2
        bottom = self._height(0, top) + half
        heights = [self._height(row, top) for row in range(len(self.layers))]
        for lower, upper in pairwise(heights):
            canvas.arrow(x, lower - half, x, upper + half + 1, "signal")
        canvas.arrow(x, bottom + 26, x, bottom + 1, "signal")
        canvas.arrow(x, heights[-1] - half, x, top + 40, "signal")
        if t == self.count - 1:
            self._loss(x, [top + 40 - half, *heights[::-1]])
        canvas.box(x, bottom + 38, sizes.pitch - 12, 23, "token-box", 11)
        canvas.text(x, bottom + 42.5, visible(self.unrolled.tokens[t], sizes.token), "token")
        canvas.text(x, bottom + 64, "t" if t == self.count - 1 else f"t − {self.count - 1 - t}", "time")
        self._prediction(t, x, top)

    def _prediction(self, t: int, x: float, top: float) -> None:
        canvas, last = self.canvas, t == self.count - 1
        if t < len(self.unrolled.probabilities):
            probability = self.unrolled.probabilities[t]
            wide = self.sizes.pitch * 0.34
            canvas.box(x - 16, top + 31, wide, 5, "track", 2.5)
            full = max(1.0, wide * min(1.0, probability))
            canvas.box(x - 16 - (wide - full) / 2, top + 31, full, 5, "chance", 2.5)
            canvas.text(x - 16 + wide / 2 + 4, top + 35, percent(round(probability, 2)), "share", "start")
        if t < len(self.unrolled.targets):
            words = visible(self.unrolled.targets[t], self.sizes.token)
            canvas.text(x, top + 20, words, "next loss" if last else "next")

    def _loss(self, x: float, heights: list[float]) -> None:
        """Draw the gradient on its way down from the loss through the layers of the last step."""
        half = self.sizes.height / 2
        for upper, lower in pairwise(heights):
            self.canvas.arrow(x + 9, upper + half, x + 9, lower - half - 1, "descent", head=4.5)

    def _layer(self, row: int, layer: int) -> None:
        canvas, sizes = self.canvas, self.sizes
        gradients = self.unrolled.gradients[layer]
        half = sizes.box / 2
        for t in range(self.first, self.count):
            x, top = self._place(t)
            y = self._height(row, top)
            column = (t - self.first) % sizes.columns
            if column == 0:
                self._name(layer, top, y)
                start = max(x - sizes.pitch + half, sizes.margin - 8 if sizes.margin > 20 else 0.0)
                canvas.arrow(start, y - 11, x - half - 1, y - 11, "state")
                if t > 0 and t - 1 < len(gradients):
                    self._gradient(x - half, start, y + 8, layer, t - 1, label=False)
            canvas.box(x, y, sizes.box, sizes.height, "cell")
            canvas.symbol(x, y + 5, "h", "t" if t == self.count - 1 else f"t−{self.count - 1 - t}")
            if t == self.count - 1:
                continue
            end = x + sizes.pitch - half if column < sizes.columns - 1 else self.width - 1
            canvas.arrow(x + half, y - 11, end - 1, y - 11, "state")
            self._gradient(end, x + half + 1, y + 8, layer, t, label=True)

    def _gradient(self, right: float, left: float, y: float, layer: int, t: int, *, label: bool) -> None:
        """Draw the gradient that reaches the state after step t from the step behind it."""
        gradients = self.unrolled.gradients[layer]
        kept = self.unrolled.window is None or self.count - 1 - t < self.unrolled.window
        begin, end = (max(THINNEST, WIDEST * gradients[k] / self.largest) for k in (t + 1, t))
        ink = 0.4 + 0.6 * math.sqrt(min(1.0, gradients[t] / self.largest))
        self.canvas.ribbon(right, left, y, (begin, end), "gradient" if kept else "gradient lost", ink if kept else 1.0)
        at_cut = self.count - 1 - t == self.unrolled.window
        if label and not at_cut and right - left > 18:
            middle = (left + right) / 2 + (4 if right - left > 30 else 0)
            share = percent(gradients[t]) if gradients[t] >= SMALLEST else "≈ 0"
            self.canvas.text(middle, y + WIDEST / 2 + 14, share, "norm" if kept else "norm lost")

    def _left_out(self, row: int) -> None:
        for t in range(self.first, self.count):
            x, top = self._place(t)
            for k in (-1, 0, 1):
                self.canvas.box(x, self._height(row, top) + 9 * k, 3, 3, "dot", 1.5)

    def _name(self, layer: int, top: float, y: float) -> None:
        name = self.unrolled.layers[layer] if layer < len(self.unrolled.layers) else f"layer {layer + 1}"
        if self.sizes.margin > 20:
            self.canvas.text(0, y - 4, f"layer {layer + 1}", "layer", "start")
            self.canvas.text(0, y + 12, name if len(name) <= 16 else f"{name[:15]}…", "remark", "start")
        else:
            self.canvas.text(0, y - self.sizes.height / 2 - 6, f"layer {layer + 1}", "layer", "start")

    def _cut(self) -> None:
        """Draw where the gradient of the last loss is cut, if that is in the picture."""
        window = self.unrolled.window
        if window is None:
            return
        t = self.count - window  # the oldest step that still receives the gradient
        if t <= self.first:
            self._cut_elsewhere(self.first - t)
            return
        x, top = self._place(t)
        x -= self.sizes.pitch / 2
        x = max(x, 9.0)
        foot = top + self.row_height - 16
        self.canvas.line(x, top + 8, x, foot - 8, "cut dashed")
        self.canvas.scissors(x, foot)

    def _cut_elsewhere(self, further: int) -> None:
        if self.sizes.margin <= 20:
            return
        foot = self.row_height - 28
        self.canvas.scissors(9, foot)
        self.canvas.text(24, foot + 1, f"{steps(further)}", "remark", "start")
        self.canvas.text(24, foot + 14, "further left", "remark", "start")


def _shown(count: int) -> list[int | None]:
    """Return the layers to draw from the bottom; None stands for those left out."""
    if count <= MOST_LAYERS:
        return list(range(count))
    return [0, 1, None, count - 1]
