"""Where a kernel of the framework's is faster than a compiled loop: a table, and how it is read.

The choice is a pure function of what is computed, its shape, the processor and the number of threads, and never of a
clock: the same call gives the same bits. ``recurra bench engine --tune`` measures this machine and writes a table for
it beside the compiled code, which goes before the one that comes with the package.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from recurra.config import check_choice, from_mapping
from recurra.engine.llvm.compiler import cache_directory
from recurra.engine.processor import processor
from recurra.errors import ConfigError, EngineError

__all__ = ["Choice", "faster", "table_path", "write_table"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was the faster at one shape.

    Args:
        vendor: of the processor, as it names itself.
        kernel: name of the framework's kernel, such as "lstm".
        mode: "train" or "infer".
        threads: of the CPU.
        rows, hidden: B and H.
        backend: "llvm" or "library".
        ratio: time of the library over that of the compiled loop.
    """

    vendor: str
    kernel: str
    mode: str
    threads: int
    rows: int
    hidden: int
    backend: str
    ratio: float

    def __post_init__(self) -> None:
        check_choice(("llvm", "library"), backend=self.backend)


@functools.lru_cache(1024)
def faster(kernel: str, mode: str, rows: int, hidden: int, threads: int) -> Choice | None:
    """Return the choice at the nearest shape that was measured on such a processor, or None if none was."""
    vendor = processor().vendor
    found = [c for c in _table() if (c.vendor, c.kernel, c.mode) == (vendor, kernel, mode)]

    def distance(choice: Choice) -> tuple[float, ...]:
        apart = abs(math.log(choice.rows / rows)) + abs(math.log(choice.hidden / hidden))
        return abs(math.log(choice.threads / threads)), apart

    return min(found, key=distance, default=None)


def table_path() -> Path | None:
    """Return where this machine's own table is, or would be; None without a cache directory."""
    folder = cache_directory()
    return None if folder is None else folder / "choices.json"


def write_table(choices: list[Choice]) -> Path:
    """Write this machine's table in place of an older one, and use it from now on.

    Raises: EngineError without a cache directory, OSError if it cannot be written.
    """
    path = table_path()
    if path is None:
        raise EngineError("there is no place for a table: RECURRA_CACHE is empty; set it to a directory")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps([asdict(choice) for choice in choices], indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    _table.cache_clear()
    faster.cache_clear()
    return path


@functools.cache
def _table() -> tuple[Choice, ...]:
    own = table_path()
    if own is not None and own.is_file():
        return _read(own.read_text(encoding="utf-8"), str(own))
    return _read(resources.files("recurra.engine").joinpath("choices.json").read_text(encoding="utf-8"), "choices.json")


def _read(text: str, name: str) -> tuple[Choice, ...]:
    try:
        rows: list[dict[str, Any]] = json.loads(text)
        return tuple(from_mapping(Choice, row) for row in rows)
    except (ValueError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        raise EngineError(
            f"{name} is not a table of choices ({error}); remove it, or write it anew: recurra bench engine --tune"
        ) from None
