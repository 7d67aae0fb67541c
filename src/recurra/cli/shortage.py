"""What to change when a command has run out of memory, with its numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from recurra.memory import as_size, free_bytes, naming_shortage

__all__ = ["memory_advice"]

F = TypeVar("F", bound=Callable[..., Any])
LOWERED = {
    "batch": "rows side by side, --batch",
    "warmup": "tokens to warm up on, --warmup",
    "reset_every": "tokens between resets, --reset-every",
    "cache": "words in the cache, --cache",
    "samples": "samples at once, --samples",
    "beam": "texts of a beam, --beam",
}
"""Options of a command that take memory."""


def memory_advice(function: F) -> F:
    """Make a lack of memory inside a command one line on what to change."""

    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        given = click.get_current_context().params
        with naming_shortage(lambda: _advice(given)):
            return function(*args, **options)

    return wrapped  # type: ignore[return-value]


def _advice(given: dict[str, Any]) -> str:
    parts = [f"{as_size(free_bytes())} are free"]
    if "run" in given:
        parts.append(_model(given["run"]))
    used = [
        f"{LOWERED[name]} {given[name]}" for name in LOWERED if isinstance(given.get(name), int) and given[name] > 1
    ]
    if used:
        parts.append(f"lower {', or '.join(used)}")
    else:
        parts.append("give it less to read at once, or run it where there is more")
    return "; ".join(parts)


def _model(path: str) -> str:
    """Return what a run's model is, from its settings alone."""
    from recurra.checkpoint import RunDirectory

    run = RunDirectory.open(path)
    model = run.read_config().get("model", {})
    size = as_size(run.model_file.stat().st_size) if run.model_file.exists() else "no"
    return f"the model has {model.get('layers')} layers of {model.get('hidden')} units, {size} of weights"
