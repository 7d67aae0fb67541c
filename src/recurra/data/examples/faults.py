"""Rows that cannot be used: named and counted, or left out."""

from __future__ import annotations

from recurra.errors import DataError

__all__ = ["Faults"]


class Faults:
    """Collects what is wrong with rows, so that one line can name the first and count the rest.

    Args:
        skip_bad: rows with a fault are left out instead of refused.
    """

    def __init__(self, skip_bad: bool) -> None:
        self.skip_bad = skip_bad
        self._found: dict[str, list[str]] = {}
        self._details: dict[str, str] = {}

    def add(self, place: str, what: str, detail: str = "") -> None:
        """Note a fault of the row at `place`; faults with the same `what` are counted together."""
        self._found.setdefault(what, []).append(place)
        self._details.setdefault(what, detail)

    def settle(self) -> list[str]:
        """Return lines about what was left out. Raises: DataError for the first fault, unless they are skipped."""
        if not self.skip_bad:
            for what, places in self._found.items():
                more = f" ({len(places):,} such rows)" if len(places) > 1 else ""
                them = "them" if more else "it"
                raise DataError(
                    f"{places[0]}: {what}{self._details[what]}{more}; mend {them}, or --skip-bad leaves {them} out"
                )
        return [
            f"left out {len(places):,} {'row' if len(places) == 1 else 'rows'}: {what} (the first: {places[0]})"
            for what, places in self._found.items()
        ]
