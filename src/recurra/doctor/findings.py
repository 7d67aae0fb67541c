"""What a check has found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["NOTE", "OK", "WRONG", "Finding", "worst"]

OK, NOTE, WRONG = "ok", "note", "wrong"
"""All well; worth knowing; to be mended."""


class Finding(NamedTuple):
    """What a check has found.

    Args:
        name: of the check, a word or two.
        status: OK, NOTE or WRONG.
        text: one line.
        advice: what to do; empty where nothing is to be done.
        details: lines for those who ask.
    """

    name: str
    status: str
    text: str
    advice: str = ""
    details: Sequence[str] = ()


def worst(*statuses: str) -> str:
    """Return the worst of several."""
    return max(statuses, key=(OK, NOTE, WRONG).index, default=OK)
