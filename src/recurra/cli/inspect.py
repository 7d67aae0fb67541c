"""``recurra inspect``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recurra.cli.options import (
    debug_option,
    json_option,
    load_language_model,
    print_json,
    progress_bar,
    run_argument,
    trust_options,
)
from recurra.errors import RunError

if TYPE_CHECKING:
    from recurra.data import Tokens
    from recurra.training import Run

PAGE = "inspect.html"
BEGINNING = 4096
"""Characters of a file in which its generator is named."""


@click.command("inspect", epilog="\b\nExample:\n  recurra inspect runs/shakespeare-lstm --prompt 'ROMEO: I'")
@run_argument
@click.option("--text", metavar="FILE", help="A text to read (- for stdin). [default: the run's validation part]")
@click.option("--prompt", metavar="TEXT", help="Colour each of its tokens by its gradient.")
@click.option("--out", type=click.Path(), metavar="FILE", help=f"Where the page goes. [default: RUN/report/{PAGE}]")
@trust_options
@json_option
@debug_option
def command(
    run: str,
    text: str | None,
    prompt: str | None,
    out: str | None,
    trust: bool,
    cell: str | None,
    as_json: bool,
) -> None:
    """Look into RUN: how far gradients travel, spectra, fixed points, gates, costs; as one page of HTML.

    The page needs no network. It replaces a page of an earlier inspection, and nothing else. With --json all numbers
    go to stdout, and a page is written only with --out.
    """
    from recurra.checkpoint import named_failures, write_atomically
    from recurra.inspection import inspect_run, render

    loaded = load_language_model(run, cell=cell, trust=trust)
    path = Path(out) if out is not None else loaded.directory.report / PAGE
    wanted = out is not None or not as_json
    if wanted:
        _check_replaceable(path)
    tokens = None if text is None else _read(loaded, text)
    with progress_bar("inspecting") as progress:
        report = inspect_run(
            loaded,
            text=tokens,
            name=text if text != "-" else "standard input",
            prompt=prompt,
            progress=lambda what, done, total: progress(done, total, what),
        )
    for note in report.notes:
        print(note, file=sys.stderr)
    if wanted:
        page = render(report).encode()
        with named_failures(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page)
    if as_json:
        print_json(report.as_mapping())
        return
    for sentence in report.verdict:
        click.echo(sentence)
    click.echo(f"page: {path}")


def _read(run: Run, source: str) -> Tokens:
    """Return the tokens of a text by the run's own tokenizer."""
    from recurra.data import Corpus

    corpus = Corpus.build(replace(run.config.data, source=source, valid=0.0), tokenizer=run.tokenizer)
    for note in corpus.notes:
        print(note, file=sys.stderr)
    return corpus.train


def _check_replaceable(path: Path) -> None:
    """Raise RunError where a page would take the place of something else, before anything is measured."""
    from recurra.inspection import is_page

    if path.is_dir():
        raise RunError(f"{path} is a folder; name a file with --out")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RunError(f"cannot write {path}: {folder} is {'read-only' if folder.is_dir() else 'no folder'}")
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        if not is_page(file.read(BEGINNING)):
            raise RunError(f"{path} exists and is no page of an inspection; choose another --out")
