"""Calls that no mode of torch's takes part in: all of them belong to threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["aside"]


def aside(fn: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function in a thread of its own, where no mode of torch's is active."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(fn, *arguments, **options).result()
