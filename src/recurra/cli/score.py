"""``recurra score``."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import click

from recurra.cli.options import debug_option, json_option, load_language_model, print_json, run_argument, trust_options
from recurra.errors import ConfigError

if TYPE_CHECKING:
    from recurra.evaluation import Surprisals
    from recurra.training import Run

UNITS = ("line", "token")


@click.command("score", epilog="\b\nExample:\n  recurra score runs/shakespeare-lstm letter.txt --top 5")
@run_argument
@click.argument("file")
@click.option("--per", type=click.Choice(UNITS), default="line", show_default=True, help="What to score.")
@click.option("--top", type=int, metavar="N", help="Only the N most surprising, first first.")
@click.option("--alternatives", default=0, metavar="N", help="With --per token: the N most likely tokens there.")
@trust_options
@json_option
@debug_option
def command(
    run: str,
    file: str,
    per: str,
    top: int | None,
    alternatives: int,
    trust: bool,
    cell: str | None,
    as_json: bool,
) -> None:
    """Show how surprising each line, or each token, of FILE (- for stdin) is to RUN, in bits.

    A line's surprise is the mean over its tokens, so long and short lines compare. The first token of all is predicted
    by nothing and has none.
    """
    from recurra.config import check_at_least
    from recurra.data import Corpus, DataConfig
    from recurra.evaluation import surprisals

    check_at_least(1, top=top)
    check_at_least(0, alternatives=alternatives)
    if alternatives:
        per = "token"
    loaded = load_language_model(run, cell=cell, trust=trust)
    if loaded.tokenizer.labels:
        raise ConfigError(f"{run} was trained on labelled texts, which are scored by recurra evaluate {run} TABLE")
    corpus = Corpus.build(DataConfig(source=file, valid=0.0), tokenizer=loaded.tokenizer)
    for note in corpus.notes:
        print(note, file=sys.stderr)
    ids = corpus.train.ids
    scores = surprisals(loaded.model, ids, documents=corpus.train.documents, alternatives=alternatives)
    rows = _token_rows(loaded, ids, scores) if per == "token" else _line_rows(loaded, ids, scores)
    if top is not None:
        rows = sorted(rows, key=lambda row: -math.inf if row["bits"] is None else row["bits"], reverse=True)[:top]
    for row in rows:
        if as_json:
            print_json(row)
        else:
            click.echo(_format(row))


def _token_rows(run: Run, ids: Any, scores: Surprisals) -> list[dict[str, Any]]:
    rows = []
    for position, token in enumerate(ids.tolist()):
        bits = float(scores.bits[position])
        row: dict[str, Any] = {
            "position": position,
            "token": run.tokenizer.symbol(token),
            "bits": None if math.isnan(bits) else bits,
        }
        if scores.alternatives.shape[1]:
            others = zip(scores.alternatives[position], scores.alternative_bits[position], strict=True)
            row["alternatives"] = [
                {"token": run.tokenizer.symbol(int(other)), "probability": 2.0**-other_bits}
                for other, other_bits in others
                if not math.isnan(other_bits)
            ]
        rows.append(row)
    return rows


def _line_rows(run: Run, ids: Any, scores: Surprisals) -> list[dict[str, Any]]:
    """Group tokens by line: a line ends with the token in whose text a line end stands."""
    rows: list[dict[str, Any]] = []
    start = 0
    pieces = [run.tokenizer.decode_bytes([token]) for token in ids.tolist()]
    for position, piece in enumerate(pieces):
        if b"\n" in piece or position == len(pieces) - 1:
            bits = [float(value) for value in scores.bits[start : position + 1] if not math.isnan(value)]
            text = run.tokenizer.decode(ids[start : position + 1]).strip("\r\n")
            mean = sum(bits) / len(bits) if bits else None
            rows.append({"line": len(rows) + 1, "bits": mean, "tokens": len(bits), "text": text})
            start = position + 1
    return rows


def _format(row: dict[str, Any]) -> str:
    bits = "      -" if row["bits"] is None else f"{row['bits']:7.3f}"
    if "line" in row:
        return f"{bits}  {row['line']:>6}  {row['text']}"
    others = "  ".join(f"{other['token']} {other['probability']:.3f}" for other in row.get("alternatives", []))
    return f"{bits}  {row['position']:>6}  {row['token']:<12}  {others}".rstrip()
