"""Shapes of a hand-made SVG: what the picture of the unrolled network is drawn with."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, tostring

__all__ = ["Canvas"]


class Canvas:
    """A picture that grows shape by shape; looks come from the classes of the page's style.

    Args:
        name: prefix of its ids; unique within a page.
    """

    def __init__(self, name: str, title: str, description: str) -> None:
        self.root = Element(
            "svg",
            {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-labelledby": f"{name}-title {name}-desc"},
        )
        SubElement(self.root, "title", id=f"{name}-title").text = title
        SubElement(self.root, "desc", id=f"{name}-desc").text = description

    def finish(self, width: float, height: float) -> str:
        """Return the picture, of that size in pixels."""
        self.root.set("viewBox", f"0 0 {width:g} {height:g}")
        self.root.set("width", f"{width:g}")
        self.root.set("height", f"{height:g}")
        return tostring(self.root, encoding="unicode")

    def box(self, x: float, y: float, width: float, height: float, look: str, radius: float = 6) -> None:
        """Draw a rectangle with round corners around (x, y)."""
        left, top = x - width / 2, y - height / 2
        self._add(
            "rect",
            look,
            x=f"{left:.1f}",
            y=f"{top:.1f}",
            width=f"{width:.1f}",
            height=f"{height:.1f}",
            rx=f"{radius:g}",
        )

    def text(self, x: float, y: float, words: str, look: str, anchor: str = "middle") -> None:
        """Write on a line whose base is at y."""
        element = self._add("text", look, x=f"{x:.1f}", y=f"{y:.1f}")
        element.set("text-anchor", anchor)
        element.text = words

    def symbol(self, x: float, y: float, letter: str, index: str) -> None:
        """Write a letter with an index below it."""
        element = self._add("text", "symbol", x=f"{x:.1f}", y=f"{y:.1f}")
        element.set("text-anchor", "middle")
        element.text = letter
        below = SubElement(element, "tspan", {"class": "index", "dy": "4"})
        below.text = index

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        """Draw a straight line."""
        self._add("path", look, d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}")

    def arrow(self, x1: float, y1: float, x2: float, y2: float, look: str, head: float = 4.0) -> None:
        """Draw a thin arrow, along an axis, from the first point to the second."""
        length = abs(x2 - x1) + abs(y2 - y1)
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        bx, by = x2 - 1.7 * head * ux, y2 - 1.7 * head * uy
        self.line(x1, y1, bx, by, look)
        self._add(
            "path", f"{look} head",
            d=f"M{x2:.1f} {y2:.1f}L{bx - head * uy:.1f} {by + head * ux:.1f}"
            f"L{bx + head * uy:.1f} {by - head * ux:.1f}Z",
        )  # fmt: skip

    def ribbon(self, right: float, left: float, y: float, widths: tuple[float, float], look: str, ink: float) -> None:
        """Draw an arrow that flows to the left and thins out on its way.

        Args:
            widths: where it begins, at the right, and where it ends.
            ink: how opaque it is, to 1.
        """
        begin, end = widths[0] / 2, widths[1] / 2
        neck, wing = left + 5 + end, end + 3
        element = self._add(
            "path", look,
            d=f"M{right:.1f} {y - begin:.2f}L{neck:.1f} {y - end:.2f}L{neck:.1f} {y - wing:.2f}L{left:.1f} {y:.1f}"
            f"L{neck:.1f} {y + wing:.2f}L{neck:.1f} {y + end:.2f}L{right:.1f} {y + begin:.2f}Z",
        )  # fmt: skip
        element.set("opacity", f"{ink:.2f}")

    def scissors(self, x: float, y: float) -> None:
        """Draw a pair of scissors that points up, at the foot of a line."""
        self._add("path", "cut", d=f"M{x - 4:.1f} {y + 7:.1f}L{x + 3.5:.1f} {y - 8:.1f}")
        self._add("path", "cut", d=f"M{x + 4:.1f} {y + 7:.1f}L{x - 3.5:.1f} {y - 8:.1f}")
        for side in (-5.5, 5.5):
            self._add("circle", "cut", cx=f"{x + side:.1f}", cy=f"{y + 10:.1f}", r="3.2")

    def _add(self, tag: str, look: str, **attributes: str) -> Element:
        return SubElement(self.root, tag, {"class": look, **attributes})
