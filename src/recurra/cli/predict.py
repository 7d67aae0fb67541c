"""``recurra predict``."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import click

from recurra.cli.options import debug_option, progress_bar, run_argument, trust_options
from recurra.cli.search import beam_options, take_beam
from recurra.cli.shortage import memory_advice
from recurra.errors import ConfigError

FORMATS = ("jsonl", "csv")

EXAMPLES = """
\b
Examples:
  recurra predict runs/reviews-lstm new.txt
  cat names.txt | recurra predict runs/names-gru - --format csv
  recurra predict runs/digits-lstm recordings/ --out digits.jsonl
  recurra predict runs/french-gru phrases.txt --beam 4 --best 3
"""


@click.command("predict", epilog=EXAMPLES)
@run_argument
@click.argument("file")
@click.option("--format", "form", type=click.Choice(FORMATS), help="What to write. [default: by --out, or jsonl]")
@click.option("--out", type=click.Path(), help="File to write. [default: stdout]")
@beam_options("best", "length_penalty")
@click.option("--skip-bad", is_flag=True, help="Leave out what cannot be read, and say so.")
@trust_options
@debug_option
@memory_advice
def command(
    run: str,
    file: str,
    form: str | None,
    out: str | None,
    skip_bad: bool,
    trust: bool,
    cell: str | None,
    **search: Any,
) -> None:
    """Let RUN answer FILE: a text with an input on each line, a table, a folder of sounds or pictures, or - for stdin.

    Writes a line of JSON for each answer, in the order of the file; with --best N several for each input, with their
    ranks. Progress goes to stderr.
    """
    from recurra.checkpoint import write_atomically
    from recurra.training import Run

    if out is not None and Path(out).exists():
        raise ConfigError(f"{out} exists already; choose another --out")
    form = form or ("csv" if out is not None and out.endswith(".csv") else "jsonl")
    beam = take_beam(search)
    loaded = Run.load(run, cell=cell, trust=trust)
    loaded.answering_task.check_beam(loaded, beam)
    with progress_bar("reading") as progress:
        questions = loaded.read(file, answered=False, skip_bad=skip_bad, progress=progress)
    for note in questions.notes:
        print(note, file=sys.stderr)
    with progress_bar("predicting") as progress:
        rows = loaded.answering_task.answer(loaded, questions, progress, beam)
    text = _as_csv(rows) if form == "csv" else "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    if out is None:
        click.echo(text, nl=False)
        return
    write_atomically(Path(out), text.encode())
    print(f"{len(rows):,} answers in {out}", file=sys.stderr)


def _as_csv(rows: list[dict[str, Any]]) -> str:
    """Return a table with a header; lists, such as labels, are joined by spaces."""
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: " ".join(value) if isinstance(value, list) else value for name, value in row.items()})
    return buffer.getvalue()
