"""Numbers and names as sentences have them."""

from __future__ import annotations

__all__ = ["duration", "gate_name", "gate_title", "plural", "steps", "visible"]

GATES = {
    "i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update",
    "input": "input", "forget": "forget", "output": "output", "reset": "reset", "update": "update",
}  # fmt: skip
MARKS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "↵"}
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
    name = GATES.get(gate)
    return f"{name} gates" if name else f"units of {gate}"


def gate_title(gate: str) -> str:
    """Return the name of a gate as it stands above a chart."""
    return GATES.get(gate, gate)


def visible(token: str, longest: int = LONGEST_TOKEN) -> str:
    """Return a token with its white space as marks, cut to what a picture has room for."""
    shown = "".join(MARKS.get(c, c if c.isprintable() else "·") for c in token)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
