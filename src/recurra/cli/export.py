"""``recurra export``."""

from __future__ import annotations

from typing import Any

import click

from recurra.cli.options import debug_option, json_option, print_json, run_argument, trust_options

FORMATS = ("onnx", "hf", "int8", "bf16")

EXAMPLES = """
\b
Examples:
  recurra export runs/shakespeare-lstm --to onnx --out shakespeare-onnx
  recurra export runs/shakespeare-lstm --to int8 --out runs/shakespeare-int8
"""


@click.command("export", epilog=EXAMPLES)
@run_argument
@click.option("--to", type=click.Choice(FORMATS), required=True, help="The format.")
@click.option("--out", type=click.Path(), metavar="FOLDER", required=True, help="A folder that does not exist yet.")
@click.option("--lengths", is_flag=True, help="Of a language model's sequences, also read where each row ends.")
@trust_options
@json_option
@debug_option
def command(run: str, to: str, out: str, trust: bool, cell: str | None, as_json: bool, **options: Any) -> None:
    """Write RUN for other software, or smaller: ONNX graphs of one step and of a sequence, a folder in the layout of
    Hugging Face, or a run whose weights take one or two bytes each.

    The folder appears when all in it was verified, or not at all; nothing is overwritten.
    """
    from recurra.errors import ConfigError
    from recurra.export import FORMATS, export_run
    from recurra.training import Run

    given = {name: value for name, value in options.items() if value}
    for name in given:
        if name not in FORMATS[to].options:
            raise ConfigError(f"--{name} means nothing to --to {to}; leave it out")
    exported = export_run(Run.load(run, cell=cell, trust=trust), to, out, **given)
    if as_json:
        print_json({"folder": str(exported.folder), "files": exported.files, **exported.facts})
        return
    for name, fact in exported.facts.items():
        click.echo(f"{name.replace('_', ' '):20} {fact}")
    click.echo(f"{'files':20} {', '.join(f'{name} ({size:,} bytes)' for name, size in exported.files.items())}")
    click.echo(f"{'folder':20} {exported.folder}")
