"""Numbers and names as sentences have them."""

from __future__ import annotations

__all__ = ["duration", "ends_line", "gate_name", "legible", "plural", "steps", "visible"]

MARKS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "↵"}
ESCAPES = {r"\n": "↵", r"\t": "⇥", r"\r": "↵"}
LINE_ENDS = ("\n", r"\n", "<eos>")
LONGEST_TOKEN = 10


def plural(count: int, noun: str) -> str:
    """Return ``1 step``, ``2 steps``, ``1,000 steps``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def steps(count: int) -> str:
    """Return a number of steps."""
    return plural(count, "step")


def duration(seconds: float) -> str:
    """Write a time with three digits, in the unit that suits it."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def gate_name(gate: str) -> str:
    """Return the name of a kind of gate, in the plural: ``forget gates``; one without a name keeps its number."""
    return f"units of {gate}" if gate.startswith("gate") else f"{gate} gates"


def ends_line(token: str) -> bool:
    """Say whether a printable token stands for the end of a line."""
    return any(end in token for end in LINE_ENDS)


def visible(token: str, longest: int = LONGEST_TOKEN) -> str:
    """Return a token for a picture: white space as marks, but none around a word; cut to what there is room for."""
    shown = "".join(MARKS.get(c, c if c.isprintable() else "·") for c in _unescaped(token))
    shown = shown.strip("␣") or shown
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def legible(token: str) -> str:
    """Return a token as it stands in a text: spaces as they are, line ends as marks."""
    return "".join(c if c == " " else MARKS.get(c, c if c.isprintable() else "·") for c in _unescaped(token))


def _unescaped(token: str) -> str:
    for escape, mark in ESCAPES.items():
        token = token.replace(escape, mark)
    return token.replace("␣", " ")
