"""Options of the commands that search for texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recurra.errors import ConfigError

if TYPE_CHECKING:
    from recurra.decoding import Beam

__all__ = ["DRAWN", "beam_options", "check_no_draws", "take_beam"]

F = TypeVar("F", bound=Callable[..., Any])

BEAM = click.option("--beam", type=int, metavar="WIDTH", help="Search for the most probable text with a beam.")
BEST = click.option("--best", type=int, metavar="N", help="Show the N best texts that the beam found. [default: 1]")
LENGTH = click.option(
    "--length-penalty", type=float, metavar="A", help="Rank by ln p / length^A; 0 favours short texts. [default: 0]"
)
GROUPS = click.option("--groups", type=int, metavar="G", help="Split the beam into groups that avoid each other.")
DIVERSITY = click.option(
    "--diversity", type=float, metavar="D", help="Nats that a token costs a group once an earlier one took it."
)
OPTIONS = {"best": BEST, "length_penalty": LENGTH, "groups": GROUPS, "diversity": DIVERSITY}
DRAWN = ("temperature", "top_k", "top_p", "min_p", "typical", "greedy", "samples", "seed")
"""Options of what is drawn by chance, which a search leaves nothing to."""


def beam_options(*names: str) -> Callable[[F], F]:
    """Add --beam, and the named options that go with it."""

    def add(function: F) -> F:
        for name in reversed(names):
            function = OPTIONS[name](function)
        return BEAM(function)

    return add


def take_beam(options: dict[str, Any]) -> Beam | None:
    """Take the settings of a search out of a command's options; None where none is asked for.

    Raises: ConfigError for settings that do not fit, or without a beam.
    """
    from recurra.decoding import Beam

    width = options.pop("beam")
    given = {name: value for name in OPTIONS if (value := options.pop(name, None)) is not None}
    if width is not None:
        return Beam(width=width, **given)
    if given:
        raise ConfigError(f"--{next(iter(given)).replace('_', '-')} is for a search; add --beam WIDTH")
    return None


def check_no_draws(context: click.Context, beam: Beam | None) -> None:
    """Raise ConfigError for a search beside options of what is drawn by chance."""
    if beam is None:
        return
    for name in DRAWN:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise ConfigError(f"--beam searches and draws nothing: leave out --{name.replace('_', '-')}")
