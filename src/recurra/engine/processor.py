"""Which processor this is: who made it, its family and its name."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Processor", "parse_cpuinfo", "processor"]

_VENDOR = re.compile(r"GenuineIntel|AuthenticAMD|HygonGenuine|CentaurHauls")


@dataclass(frozen=True)
class Processor:
    """A processor as it describes itself.

    Args:
        vendor: such as GenuineIntel or AuthenticAMD; empty if it does not say, as ARM processors do not.
        family, model: the vendor's numbers for the design, if known.
        name: as sold, or whatever else is known of it.
    """

    vendor: str
    family: int | None
    model: int | None
    name: str


@cache
def processor() -> Processor:
    """Describe this machine's processor; looked up once per process."""
    try:
        found = parse_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        found = Processor("", None, None, "")
    if found.vendor and found.name:
        return found
    described = platform.processor()
    vendor = _VENDOR.search(described)
    name = found.name or described or platform.machine()
    return Processor(found.vendor or (vendor.group() if vendor else ""), found.family, found.model, name)


def parse_cpuinfo(text: str) -> Processor:
    """Read the first processor of a text in the form of Linux's /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())

    def number(name: str) -> int | None:
        return int(value) if (value := fields.get(name, "")).isdecimal() else None

    return Processor(fields.get("vendor_id", ""), number("cpu family"), number("model"), fields.get("model name", ""))
