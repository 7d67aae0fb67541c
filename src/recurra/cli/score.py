"""``recurra score``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recurra.cli.adapting import behind_cache, cache_options, take_cache
from recurra.cli.options import debug_option, json_option, load_language_model, run_argument, trust_options
from recurra.cli.scores import FORMATS, Printer
from recurra.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from recurra.evaluation import TextScorer

UNITS = ("line", "token", "document")
WARMUP = 256

EXAMPLES = """
\b
Examples:
  recurra score runs/shakespeare-lstm letter.txt --top 5
  recurra score runs/log-gru service.log --follow --above 3
  gzip -dc old.log.gz | recurra score runs/log-gru - --batch 16 --format csv
"""


@click.command("score", epilog=EXAMPLES)
@run_argument
@click.argument("file")
@click.option("--per", type=click.Choice(UNITS), help="What to score. [default: line; token with --alternatives]")
@click.option("--top", type=int, metavar="N", help="Only the N most surprising, first first.")
@click.option("--above", type=float, metavar="BITS", help="Only what is at least so surprising.")
@click.option("--alternatives", default=0, metavar="N", help="The N most likely tokens at each token.")
@click.option("--follow", is_flag=True, help="Wait for what is added to FILE, as tail -f does, until interrupted.")
@click.option("--batch", default=1, show_default=True, metavar="N", help="Rows to cut the text into, for speed.")
@click.option("--warmup", type=int, metavar="N", help="Tokens before its own that each row reads. [default: 256]")
@click.option("--format", "form", type=click.Choice(FORMATS), help="What to print. [default: text]")
@cache_options
@trust_options
@json_option
@debug_option
def command(
    run: str,
    file: str,
    per: str | None,
    top: int | None,
    above: float | None,
    alternatives: int,
    follow: bool,
    batch: int,
    warmup: int | None,
    form: str | None,
    trust: bool,
    cell: str | None,
    as_json: bool,
    **remembering: Any,
) -> None:
    """Show how surprising each line, token or document of FILE is to RUN, in bits.

    FILE is a text, a folder of texts, each a document, or - for stdin; it may be of any length. A line's surprise is
    the mean over its tokens, so long and short lines compare. The first token of all is predicted by nothing and has
    none. Results come while the text is read.
    """
    from recurra.config import check_at_least
    from recurra.evaluation import TextScorer

    cache = take_cache(remembering)
    check_at_least(1, top=top, batch=batch)
    check_at_least(0, alternatives=alternatives, warmup=warmup)
    if per is None:
        per = "token" if alternatives else "line"
    _refuse_contradictions(file, per, top, alternatives, follow, batch, warmup)
    if as_json and form not in (None, "jsonl"):
        raise ConfigError(f"--json and --format {form} contradict each other; give one of them")
    loaded = load_language_model(run, cell=cell, trust=trust, small=True)
    if loaded.tokenizer.labels:
        raise ConfigError(f"{run} was trained on labelled texts, which are scored by recurra evaluate {run} TABLE")
    scorer = TextScorer(
        behind_cache(loaded.model, cache),
        per=per,
        alternatives=alternatives,
        batch=batch,
        warmup=(WARMUP if warmup is None else warmup) if batch > 1 else 0,
    )
    rows = _followed(scorer, file) if follow else _read(scorer, file)
    printer = Printer(
        "jsonl" if as_json else form or "text",
        _columns(per, Path(file).is_dir(), min(alternatives, len(scorer.tokenizer))),
        top=top,
        above=above,
    )
    for found, document in rows:
        named = document if per == "document" or Path(file).is_dir() else None
        printer.add([_row(score, per, named) for score in found])
    printer.finish()
    _note_unseen(scorer, _name_of(file))


def _refuse_contradictions(
    file: str, per: str, top: int | None, alternatives: int, follow: bool, batch: int, warmup: int | None
) -> None:
    if alternatives and per != "token":
        raise ConfigError(f"--alternatives are of single tokens; leave out --per {per}, or give --per token")
    if warmup is not None and batch == 1:
        raise ConfigError("--warmup is for the rows of a --batch, and one stream needs none; give --batch, too")
    if not follow:
        return
    if top is not None or batch > 1 or per == "document":
        given = f"--top {top}" if top is not None else f"--batch {batch}" if batch > 1 else "--per document"
        raise ConfigError(f"--follow never comes to an end, and {given} needs one; drop one of them")
    if Path(file).is_dir():
        raise ConfigError(f"--follow reads a file that grows, and {file} is a folder; give a file in it")


def _read(scorer: TextScorer, source: str) -> Iterator[tuple[list[Any], str | None]]:
    """Yield scores of the documents of a source, as they are complete, and of which document they are."""
    held: list[Any] = []
    document, documents = "", 0
    for name, pieces in _documents(scorer, source):
        if documents:
            yield scorer.end_document(closed=True), document
        document, documents = name, documents + 1
        for piece in pieces:
            held += scorer.feed(piece)
            if scorer.predicted:  # a lone token is refused, and nothing printed
                yield held, document
                held = []
    if not documents:
        raise CorpusError(f"{source} has no text files in it; give a text file or a folder of text files")
    held += scorer.end_document(closed=documents > 1)
    if not scorer.predicted:
        _note_unseen(scorer, _name_of(source))
        raise CorpusError(f"{_name_of(source)} is a single token, which nothing predicts; give a longer text")
    yield held, document


def _documents(scorer: TextScorer, source: str) -> Iterator[tuple[str, Iterator[str | bytes]]]:
    from recurra.data import BUILT_IN, counting
    from recurra.data.text import files_below

    raw = scorer.tokenizer.kind == "byte"
    if source in BUILT_IN:
        text = counting.counting_text()
        yield source, iter([text.encode() if raw else text])
        return
    if not Path(source).is_dir():
        yield source, _text_of(source, raw)
        return
    left_out = []
    for path in files_below(Path(source)):
        with path.open("rb") as file:
            beginning = file.read(8192)
        name = path.relative_to(source).as_posix()
        if not beginning:
            left_out.append(f"{name} (empty)")
        elif not raw and b"\0" in beginning:
            left_out.append(f"{name} (not text)")
        else:
            yield name, _text_of(str(path), raw)
    if left_out:
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        print(f"left out of {source}: {', '.join(left_out[:5])}{more}", file=sys.stderr)


def _text_of(source: str, raw: bool) -> Iterator[str | bytes]:
    from recurra.data import TextDecoder, read_pieces

    where = _name_of(source)
    decoder, empty = TextDecoder(where), True
    for data in read_pieces(source):
        empty = False
        yield data if raw else decoder.feed(data)
    if empty:
        raise CorpusError(f"{where} is empty; give a text to score")
    if not raw:
        yield decoder.finish()


def _followed(scorer: TextScorer, source: str) -> Iterator[tuple[list[Any], None]]:
    """Yield scores of what is added to a file, line by line, until interrupted."""
    from recurra.data import TextDecoder, follow, read_pieces
    from recurra.data.pieces import AGAIN, IDLE

    raw = scorer.tokenizer.kind == "byte"
    decoder, told = TextDecoder(_name_of(source)), False
    try:
        for event in read_pieces(source) if source == "-" else follow(Path(source)):
            if event == AGAIN:
                yield scorer.end_document(), None
                print(f"{source} begins anew: it was replaced or cut short", file=sys.stderr)
                scorer.restart()
                decoder = TextDecoder(source)
                continue
            if isinstance(event, bytes):
                yield scorer.feed(event if raw else decoder.feed(event)), None
            if event == IDLE or source == "-":
                yield scorer.settle(), None
            if scorer.unseen.missing and not told:
                told = True
                print("some symbols are not in the vocabulary; they are counted at the end", file=sys.stderr)
    except KeyboardInterrupt:
        _note_unseen(scorer, _name_of(source))
        raise
    if not raw:
        yield scorer.feed(decoder.finish()), None
    yield scorer.end_document(), None


def _note_unseen(scorer: TextScorer, where: str) -> None:
    line = scorer.unseen.line(where)
    if line:
        print(line, file=sys.stderr)


def _name_of(source: str) -> str:
    return "standard input" if source == "-" else source


def _columns(per: str, folder: bool, alternatives: int) -> list[str]:
    if per == "token":
        others = [f"{name}_{n + 1}" for n in range(alternatives) for name in ("token", "probability")]
        return ["position", "token", "bits", *others]
    if per == "document":
        return ["document", "bits", "most_bits", "tokens"]
    return [*["document"] * folder, "line", "bits", "most_bits", "tokens", "text"]


def _row(score: Any, per: str, document: str | None) -> dict[str, Any]:
    if per == "token":
        row = {"position": score.position, "token": score.token, "bits": score.bits}
        if score.alternatives:
            row["alternatives"] = [{"token": token, "probability": p} for token, p in score.alternatives]
        return row
    numbers = {"bits": score.bits, "most_bits": score.most, "tokens": score.tokens}
    if per == "document":
        return {"document": document, **numbers}
    return {**({"document": document} if document else {}), "line": score.number, **numbers, "text": score.text}
