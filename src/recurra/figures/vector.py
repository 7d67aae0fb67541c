"""Charts as SVG to stand in a page: small, named for screen readers, in the page's own colours."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from recurra.figures.canvas import AXIS, BLUE, CARD, FAINT, GREEN, GRID, INK, ORANGE, PURPLE, SKY, VERMILION, canvas

if TYPE_CHECKING:  # loaded when something is drawn: most commands draw nothing
    from matplotlib.figure import Figure

__all__ = ["WIDTH", "drawing", "svg"]

WIDTH = 4.2
"""Inches of a chart: about as wide as a phone, so that its text is shown there as large as it was drawn."""
COLOURS = {
    INK: "ink", FAINT: "faint", AXIS: "axis", GRID: "grid", CARD: "card",
    BLUE: "blue", VERMILION: "vermilion", GREEN: "green", PURPLE: "purple", SKY: "sky", ORANGE: "orange",
}  # fmt: skip
VARIABLES = {colour.lower(): f"var(--{name}, {colour.lower()})" for colour, name in COLOURS.items()}
STYLE: dict[Any, Any] = {
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.5,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "lines.linewidth": 1.6,
    "axes.linewidth": 0.7,
    "grid.linewidth": 0.6,
    "axes.grid": False,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "recurra",
    "figure.constrained_layout.use": True,
}
NAMESPACE = re.compile(r"\{.*\}")
DROPPED = {"metadata", "style"}
REFERENCE = re.compile(r"url\(#([^)]+)\)")
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
DRAWN = ("d", "x", "y", "width", "height", "transform", "points", "viewBox")
PIXELS_PER_POINT = 96 / 72


@contextmanager
def drawing(height: float, width: float = WIDTH, *, across: float = 0.02, down: float = 0.02) -> Iterator[Figure]:
    """Yield an empty figure of the given inches to draw a chart of a page on.

    Args:
        across, down: space between panels, as a share of their size.
    """
    import matplotlib

    with canvas((width, height)) as figure, matplotlib.rc_context(STYLE):
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=across, hspace=down)
        figure.patch.set_visible(False)
        yield figure


def svg(figure: Figure, title: str, description: str) -> str:
    """Return a figure as an SVG element for a page.

    No two charts of a page share an id, whatever they show. Text stays text. The colours of all pictures become
    variables of the page (``--ink``, ``--blue``, …), with themselves where it has none, so that they follow it into
    the dark.

    Args:
        title: what it shows; unique within its page.
        description: how, for those who cannot see it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    prefix = "c" + hashlib.sha256(title.encode() + buffer.getvalue()).hexdigest()[:8]
    _drop_what_a_page_has(root)
    _name_apart(root, prefix)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "style":
                element.set(key, _restyle(value))
            elif key in DRAWN:
                element.set(key, LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}", " ".join(value.split())))
    _, _, width, height = (float(number) for number in root.attrib["viewBox"].split())
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": root.attrib["viewBox"],
        "width": f"{width * PIXELS_PER_POINT:.0f}",
        "height": f"{height * PIXELS_PER_POINT:.0f}",
        "role": "img",
        "aria-labelledby": f"{prefix}-title {prefix}-desc",
        "stroke-linejoin": "round",
    }
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, id=f"{prefix}-{tag}")
        element.text = text
        root.insert(position, element)
    return ElementTree.tostring(root, encoding="unicode")


def _drop_what_a_page_has(root: ElementTree.Element) -> None:
    """Remove namespaces, which HTML knows by itself, and styles, which would reach all of a page."""
    for parent in root.iter():
        for child in list(parent):
            if NAMESPACE.sub("", child.tag) in DROPPED:
                parent.remove(child)
    for element in root.iter():
        element.tag = NAMESPACE.sub("", element.tag)
        element.attrib = {NAMESPACE.sub("", key): value for key, value in element.attrib.items()}


def _name_apart(root: ElementTree.Element, prefix: str) -> None:
    """Put a prefix before the ids that are referred to; the others go."""
    used = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            used.update(REFERENCE.findall(value))
            if key == "href":
                used.add(value.removeprefix("#"))
                element.set(key, f"#{prefix}-{value.removeprefix('#')}")
            elif "url(#" in value:
                element.set(key, REFERENCE.sub(rf"url(#{prefix}-\1)", value))
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.set("id", f"{prefix}-{name}")


def _restyle(style: str) -> str:
    """Leave the family of the font to the page, and name the colours."""
    kept = [part.strip() for part in style.split(";") if part.strip() and not part.strip().startswith("font-family")]
    return re.sub(r"#[0-9a-f]{6}", lambda colour: VARIABLES.get(colour[0], colour[0]), "; ".join(kept))
