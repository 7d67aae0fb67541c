"""The exceptions of recurra. Every message is one line: what was wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "BackpropError",
    "ConfigError",
    "CorpusError",
    "DataError",
    "DivergedError",
    "EngineError",
    "OutOfMemoryError",
    "ProcessError",
    "RecurraError",
    "RunError",
    "ShapeError",
    "StateError",
    "VocabularyError",
    "nearest",
]


class RecurraError(Exception):
    """The user's input, in any form, cannot be used as it is. The command line exits with status 2."""

    def __str__(self) -> str:
        # What is quoted from a file may hold line breaks, or commands to a terminal.
        said = super().__str__()
        return said if said.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in said)


class ProcessError(RecurraError):
    """Processes that train together and have lost each other."""


class ShapeError(RecurraError, ValueError):
    """Tensors whose shapes, types or devices do not fit together."""


class StateError(RecurraError, ValueError):
    """A state of the wrong structure, or one that does not continue the stream it is offered to."""


class EngineError(RecurraError, ValueError):
    """A backend that cannot run the given cell."""


class BackpropError(RecurraError, ValueError):
    """A policy of back-propagation that cannot be used."""


class ConfigError(RecurraError, ValueError):
    """A setting that is unknown, of the wrong type or out of range."""


class CorpusError(RecurraError, ValueError):
    """A text that is missing, empty, not text, or too short for what is asked of it."""


class DataError(RecurraError, ValueError):
    """Examples, recordings, pictures or series that are missing, damaged, or not what a task needs."""


class VocabularyError(RecurraError, ValueError):
    """Symbols that the tokenizer has never seen, or a tokenizer file that cannot be used."""


class RunError(RecurraError):
    """A run directory that is missing, damaged, from a newer version, or cannot be written."""


class DivergedError(RecurraError, ArithmeticError):
    """Training produced a loss or gradient that is not a finite number."""


class OutOfMemoryError(RecurraError, MemoryError):
    """There is not enough memory for what was asked."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to `name`, else the list of known names."""
    options = sorted(map(str, known))  # what was read from a file may hold anything
    starts = [option for option in options if name and option.startswith(name)]
    close = starts or get_close_matches(name, options, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(options)}"
