"""Memory of this machine: how much there is, how much is free, and what it looks like when there is none left."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recurra.errors import OutOfMemoryError

__all__ = ["as_size", "free_bytes", "installed_bytes", "is_shortage", "naming_shortage"]

SHORTAGE = re.compile(
    r"can't allocate memory|not enough memory|cannot allocate memory|out of memory|unable to allocate|bad_alloc",
    re.IGNORECASE,
)
"""How torch's allocators, NumPy's, C's and C++'s say it."""
ASKED = re.compile(r"tried to allocate ([\d.]+) ?([KMGT]i?B|bytes)|Unable to allocate ([\d.]+) ([KMGT]i?B|bytes)", re.I)
UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
CGROUP = Path("/sys/fs/cgroup")
LIMITS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""Of the two versions of control groups: the limit, what is used, and what of that can be given back at once."""


def as_size(size: float) -> str:
    """Write bytes for people: ``1.5 GiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size >= UNITS[unit]:
            return (
                f"{size / UNITS[unit]:.3g} {unit}" if size < 1000 * UNITS[unit] else f"{size / UNITS[unit]:,.0f} {unit}"
            )
    return f"{size:.0f} bytes"


def is_shortage(error: BaseException) -> bool:
    """Whether an exception says that memory was not to be had, whoever asked for it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and SHORTAGE.search(str(error)) is not None


def asked_for(error: BaseException) -> str:
    """Return `` (1.5 GiB were asked for)``, as far as the exception says it."""
    found = ASKED.search(str(error))
    if found is None:
        return ""
    number, unit = (found[1], found[2]) if found[1] else (found[3], found[4])
    scale = UNITS.get(unit if unit == "bytes" or "i" in unit else f"{unit[0]}iB", 1)
    return f" ({as_size(float(number.rstrip('.')) * scale)} were asked for)"


@contextmanager
def naming_shortage(advice: Callable[[], str]) -> Iterator[None]:
    """Turn a lack of memory inside into an `OutOfMemoryError` of one line.

    Args:
        advice: says what to change; asked only then.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        if not is_shortage(error):
            raise
        asked = asked_for(error)
        # what holds the memory hangs on the traceback; without it there is room to say so
        error.__traceback__ = None
        raise OutOfMemoryError(f"out of memory{asked}: {advice()}") from None


def installed_bytes() -> int:
    """Return the memory that this process may use at most: of the machine, or of its control group."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *(limit for limit, _ in _groups())])


def free_bytes() -> int:
    """Return the memory that can be had now without swapping, within what the control group allows."""
    available = [limit - used for limit, used in _groups()]
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        available.append(int(re.findall(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)[0]) * 2**10)
    except (OSError, IndexError):
        available.append(installed_bytes())  # another system: what there is at all
    return max(0, min(available))


def _groups() -> list[tuple[int, int]]:
    """Return (limit, used) of the control group, if it has a limit; files that can be dropped are not used."""
    found = []
    for limit_file, used_file, stat_file, name in LIMITS:
        try:
            limit = int((CGROUP / limit_file).read_text(encoding="ascii"))
            used = int((CGROUP / used_file).read_text(encoding="ascii"))
            stat = (CGROUP / stat_file).read_text(encoding="ascii")
        except (OSError, ValueError):  # no such group, or "max"
            continue
        reclaimable = re.search(rf"^{name} (\d+)$", stat, re.MULTILINE)
        if limit < 2**60:
            found.append((limit, max(0, used - (int(reclaimable[1]) if reclaimable else 0))))
    return found
