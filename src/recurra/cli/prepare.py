"""``recurra prepare``."""

from __future__ import annotations

import os
import sys

import click

from recurra.cli.options import debug_option, json_option, print_json, progress_bar

EXAMPLES = """
\b
Examples:
  recurra prepare books/ --out stores/books --tokenizer bpe --vocab 8192
  recurra prepare dump.jsonl.zst --out stores/dump --input body --valid 0.001
  recurra prepare part-*.parquet --out stores/web --tokenizer byte --processes 8
  recurra prepare hf:wikitext@wikitext-2-raw-v1 --out stores/wikitext --tokenizer word
  recurra train stores/books --order documents
"""
MOST_PROCESSES = 4
"""Unless more are asked for: each takes about a hundred megabytes."""


@click.command("prepare", epilog=EXAMPLES)
@click.argument("files", nargs=-1, required=True)
@click.option("--out", type=click.Path(), required=True, help="Store to make, a folder.")
@click.option("--tokenizer", help="char, byte, word or bpe. [default: char]")
@click.option("--vocab", type=int, help="Largest vocabulary, for char, word and bpe.")
@click.option("--vocabulary", type=click.Path(), help="Use that of this run, store or tokenizer.json.")
@click.option("--valid", help="Share of the end to validate on, or a file. [default: 0.1]")
@click.option("--input", metavar="COLUMN", help="Column of texts. [default: text, or the only one of strings]")
@click.option("--shard-tokens", type=int, metavar="N", help="Tokens of a shard, about. [default: 16777216]")
@click.option(
    "--processes",
    type=int,
    metavar="N",
    help=f"Processes side by side. [default: the processors, {MOST_PROCESSES} at most]",
)
@json_option
@debug_option
def command(
    files: tuple[str, ...],
    out: str,
    tokenizer: str | None,
    vocab: int | None,
    vocabulary: str | None,
    valid: str | None,
    input: str | None,
    shard_tokens: int | None,
    processes: int | None,
    as_json: bool,
) -> None:
    """Tokenise FILES of any size into a store on disk, from which `recurra train` reads only what it needs.

    FILES are texts, lines of JSON (.jsonl) and Parquet (.parquet), the first two also as .gz or .zst; folders of those;
    or hf:NAME, with @CONFIG and :SPLIT where wanted, for a data set of Hugging Face. A file of text is a document, and
    so is each line of JSON, and each row of a table.

    Interrupted or killed, the same command goes on from its last whole shard. Memory does not grow with the files.
    """
    from recurra.data import prepare

    try:
        with progress_bar("reading") as progress:
            done = prepare(
                files, out, processes=_processors() if processes is None else processes, progress=progress,
                tokenizer=tokenizer, vocab=vocab, vocabulary=vocabulary, valid=valid, input=input,
                shard_tokens=shard_tokens,
            )  # fmt: skip
    except KeyboardInterrupt:
        print(f"what is done so far is in {out}.unfinished; the same command goes on with it", file=sys.stderr)
        raise
    for note in done.notes:
        print(note, file=sys.stderr)
    if as_json:
        numbers = {name: value for name, value in vars(done).items() if name not in ("path", "notes")}
        print_json({"store": str(done.path), **numbers})
        return
    click.echo(
        f"tokens:     {done.train_tokens:,} + {done.valid_tokens:,}, vocabulary {done.vocabulary:,}, "
        f"documents {done.documents:,}"
    )
    click.echo(f"store:      {done.path}")


def _processors() -> int:
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(found, MOST_PROCESSES)
