"""Ctrl-C that loses nothing."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interruption"]


class Interruption:
    """Turns the first Ctrl-C into a request to stop at the next good moment; a second one stops at once.

    Args:
        at_any_end: take SIGTERM for a request, too, by which a launcher ends its processes, and the end of the launcher
            itself.
    """

    def __init__(self, at_any_end: bool = False) -> None:
        self._requested = False
        self._signals = (signal.SIGINT, signal.SIGTERM) if at_any_end else (signal.SIGINT,)
        self._parent = os.getppid() if at_any_end else None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether to stop."""
        return self._requested or self._parent not in (None, os.getppid())

    def __enter__(self) -> Self:
        self._requested = False
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self._signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        signal.signal(number, self._before[number])
