"""``recurra doctor``."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recurra.cli.options import debug_option, json_option, print_json, progress_bar

if TYPE_CHECKING:
    from recurra.doctor import Finding

MARKS = {"ok": ("✓", "green"), "note": ("–", "yellow"), "wrong": ("✗", "bold red")}
INDENT = 13
PLAIN_MARKS = {"ok": "ok", "note": "--", "wrong": "!!"}


@click.command("doctor", epilog="\b\nExamples:\n  recurra doctor\n  recurra doctor --verbose\n  recurra doctor --json")
@click.option("-v", "--verbose", is_flag=True, help="Show every version, and every cell on every backend.")
@json_option
@debug_option
def command(verbose: bool, as_json: bool) -> int:
    """Check this machine: versions, processor, memory, disk, the engine, and every cell on every backend and device.

    Each line is green, worth knowing, or red with what to do. Cells are compiled the first time, which takes half a
    minute, and later a few seconds. Exit status 0 if nothing is wrong, 1 if something is.
    """
    from recurra.doctor import WRONG, examine

    found: list[Finding] = []
    with progress_bar("checking") as progress:
        for finding in examine(Path("runs"), progress):
            found.append(finding)
            if not as_json:
                _show(finding, verbose)
    wrong = [finding for finding in found if finding.status == WRONG]
    if as_json:
        print_json({"ok": not wrong, "findings": [finding._asdict() for finding in found]})
    elif wrong:
        count = "one thing is" if len(wrong) == 1 else f"{len(wrong)} things are"
        click.echo(f"{count} wrong: {', '.join(finding.name for finding in wrong)}")
    else:
        click.echo("all well")
    return 1 if wrong else 0


def _show(finding: Finding, verbose: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    mark, style = MARKS[finding.status]
    if sys.__stdout__ is None or sys.__stdout__.encoding.lower().replace("-", "") != "utf8":
        mark = PLAIN_MARKS[finding.status]
    # a terminal is filled to its edge; what reads a pipe gets a line for each finding
    width = max(console.width - INDENT - 1, 20) if console.is_terminal else sys.maxsize
    first, *rest = textwrap.wrap(finding.text, width) or [""]
    console.print(Text(mark, style) + Text(f" {finding.name:<{INDENT - 2}}{first}"))
    for line in rest:
        console.print(Text(" " * INDENT + line))
    for line in textwrap.wrap(finding.advice, width):
        console.print(Text(" " * INDENT + line, style if finding.status == "wrong" else "dim"))
    for line in finding.details if verbose else ():
        console.print(Text(" " * (INDENT + 2) + line, "dim"))
