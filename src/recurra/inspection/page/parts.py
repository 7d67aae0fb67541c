"""What a page is made of: sections of charts, each with a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Chart", "Coloured", "Panel", "Section", "Span"]


@dataclass(frozen=True)
class Chart:
    """A picture (SVG) and what it shows: how to read it, with the numbers of the run."""

    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Panel:
    """A small picture among others of its kind, and a sentence."""

    name: str
    sentence: str
    svg: str


@dataclass(frozen=True)
class Span:
    """A token on a coloured ground.

    Args:
        strength: from 0, none, to 1.
        positive: which of two colours.
        hint: shown when pointed at.
    """

    text: str
    strength: float
    positive: bool
    hint: str
    breaks: bool


@dataclass(frozen=True)
class Coloured:
    """A text whose tokens are coloured."""

    title: str
    caption: str
    spans: Sequence[Span]

    @property
    def spaced(self) -> bool:
        """Whether tokens are words, which have a space between them; other tokens bring their own."""
        longest = max((len(span.text) for span in self.spans), default=0)
        return longest > 1 and not any(" " in span.text for span in self.spans)


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Args:
        anchor: its id within the page.
        lead: a sentence or two below the heading.
        wide: pictures of the whole width, one for desktops and one for phones.
        panels: small pictures in a grid, below a caption of their own.
        prelude, texts: coloured texts, above the charts and below.
        missing: why there is nothing to see, if so.
    """

    anchor: str
    heading: str
    lead: str = ""
    wide: Sequence[str] = ()
    wide_caption: str = ""
    prelude: Sequence[Coloured] = field(default_factory=list)
    charts: Sequence[Chart] = field(default_factory=list)
    panels: Sequence[Panel] = field(default_factory=list)
    panels_caption: str = ""
    texts: Sequence[Coloured] = field(default_factory=list)
    missing: str = ""
