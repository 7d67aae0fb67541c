"""``recurra explain``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from recurra.cli.options import debug_option, json_option, print_json, trust_options


@click.command("explain", epilog="\b\nExamples:\n  recurra explain lstm\n  recurra explain runs/shakespeare-lstm")
@click.argument("what", metavar="RUN|CELL")
@trust_options
@json_option
@debug_option
def command(what: str, trust: bool, cell: str | None, as_json: bool) -> None:
    """Say which path of the engine runs a cell (or each layer of a run), and why."""
    from recurra.cells import make_cell
    from recurra.engine import explain
    from recurra.training import Run

    if Path(what).is_dir():
        explanations = [explain(layer) for layer in Run.load(what, cell=cell, trust=trust).cells]
    else:
        explanations = [explain(make_cell(what, 64, 64))]
    for explanation in explanations:
        if as_json:
            print_json(asdict(explanation))
        else:
            click.echo(str(explanation))
