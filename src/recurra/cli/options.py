"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from recurra.training import Run

__all__ = [
    "debug_option",
    "json_option",
    "load_language_model",
    "print_json",
    "progress_bar",
    "run_argument",
    "trust_options",
]

F = TypeVar("F", bound=Callable[..., Any])

debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, and nothing else there.")
run_argument = click.argument("run", type=click.Path())


def trust_options(function: F) -> F:
    """Add the two ways to allow a run's own cell, which is code, to be imported."""
    cell = click.option("--cell", metavar="MODULE:CLASS", help="Allow this cell of your own to be imported.")
    return click.option("--trust", is_flag=True, help="Import whatever cell the run names.")(cell(function))


def load_language_model(path: str, *, cell: str | None, trust: bool, small: bool = False) -> Run:
    """Load a run of a language model, see `Run.load`. Raises: ConfigError for one of another task, with what to do."""
    from recurra.errors import ConfigError
    from recurra.training import Run

    run = Run.load(path, cell=cell, trust=trust, small=small)
    if run.config.task != "lm":
        raise ConfigError(
            f"{path} is a run of --task {run.config.task}, and this is for language models; "
            f"use recurra predict, evaluate or info"
        )
    return run


def print_json(value: Any) -> None:
    """Print one JSON object on one line; numbers that JSON has no words for become null."""
    click.echo(json.dumps(_finite(value), ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[..., None]]:
    """Yield a function of (done, total) that moves a bar on stderr, where that is a terminal.

    A third argument replaces the label.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label)
        yield lambda done, total, label=label: progress.update(task, description=label, completed=done, total=total)
