"""``recurra evaluate``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recurra.cli.answers import print_assessment
from recurra.cli.options import debug_option, json_option, print_json, progress_bar, run_argument, trust_options
from recurra.errors import ConfigError

if TYPE_CHECKING:
    from recurra.data import Tokens
    from recurra.training import Run

PARTS = ("train", "valid", "test", "all")


EXAMPLES = """
\b
Examples:
  recurra evaluate runs/shakespeare-lstm other.txt --json
  recurra evaluate runs/reviews-lstm test.tsv
"""


@click.command("evaluate", epilog=EXAMPLES)
@run_argument
@click.argument("corpus", required=False)
@click.option("--part", type=click.Choice(PARTS), help="Part of the corpus. [default: all; without CORPUS valid]")
@click.option("--batch", default=1, show_default=True, help="Rows to cut the text into, for speed.")
@click.option("--warmup", default=0, show_default=True, help="Tokens before its own that each row reads, uncounted.")
@click.option("--reset-every", type=int, help="Forget the state after every so many tokens.")
@click.option("--skip-bad", is_flag=True, help="Leave out examples that cannot be used, and say so.")
@trust_options
@json_option
@debug_option
def command(
    run: str,
    corpus: str | None,
    part: str | None,
    batch: int,
    warmup: int,
    reset_every: int | None,
    skip_bad: bool,
    trust: bool,
    cell: str | None,
    as_json: bool,
) -> None:
    """Measure how well RUN predicts CORPUS: a file, a folder, - for stdin, `counting`, or what it was trained on.

    The text is one stream with the state carried along, so the result depends on nothing but model and text; every
    token but the first is predicted exactly once.

    A run of another task answers the examples in CORPUS, beside the simplest ways to answer them; what that shows is
    drawn into the report of the run.
    """
    from recurra.config import check_at_least
    from recurra.evaluation import evaluate
    from recurra.training import Run

    check_at_least(1, batch=batch, reset_every=reset_every)
    check_at_least(0, warmup=warmup)
    if reset_every is not None and (batch > 1 or warmup):
        raise ConfigError("--reset-every already reads many pieces side by side; drop --batch and --warmup")
    loaded = Run.load(run, cell=cell, trust=trust)
    if loaded.config.task != "lm":
        if part == "test" and loaded.config.task != "forecast":
            raise ConfigError("only series are split off a test part; give a file to test on")
        if part == "all" or batch > 1 or warmup or reset_every:
            raise ConfigError("--part all, --batch, --warmup and --reset-every are for language models; leave them out")
        _assess(loaded, corpus, part, skip_bad, as_json)
        return
    tokens = _tokens(loaded, corpus, part, skip_bad)
    with progress_bar("evaluating") as progress:
        score = evaluate(
            loaded.model,
            tokens,
            batch=batch,
            warmup=warmup,
            reset_every=reset_every,
            progress=progress,
        )
    if as_json:
        print_json(score.as_mapping())
        return
    bits = "" if score.bits_per_char is None else f"\nbits/char   {score.bits_per_char:.4f}"
    click.echo(
        f"tokens      {score.tokens:,}\nloss        {score.loss_nats:.4f} nats per token\n"
        f"perplexity  {score.perplexity:.4f}\nbits/token  {score.bits_per_token:.4f}{bits}\n"
        f"accuracy    {score.accuracy:.4f}\nseconds     {score.seconds:.1f}"
    )


def _assess(run: Run, source: str | None, part: str | None, skip_bad: bool, as_json: bool) -> None:
    if source is not None and part is not None:
        raise ConfigError("--part chooses from what the run was trained on; give it or a file, not both")
    questions = None
    if source is not None:
        with progress_bar("reading") as progress:
            questions = run.read(source, skip_bad=skip_bad, progress=progress)
        for note in questions.notes:
            print(note, file=sys.stderr)
    name = (part or "valid") if source is None else "stdin" if source == "-" else Path(source).stem
    with progress_bar("evaluating") as progress:
        assessment = run.assess(questions, name=name, progress=progress)
    if as_json:
        print_json(assessment.as_mapping())
    else:
        print_assessment(assessment)


def _tokens(run: Run, source: str | None, part: str | None, skip_bad: bool) -> Tokens:
    from recurra.data import Corpus

    if part == "test":
        raise ConfigError("a text has no test part; give the file to test on")
    if source is None:
        corpus, part = run.data, part or "valid"
        if part == "all":
            raise ConfigError("the run keeps its corpus in two parts; choose --part train or --part valid")
    else:
        part = part or "all"
        if part != "all" and isinstance(run.config.data.valid, str):
            raise ConfigError("the run was validated on a file of its own, so a text has no parts; leave out --part")
        valid = 0.0 if part == "all" else run.config.data.resolved().valid
        config = replace(run.config.data, source=source, valid=valid, skip_bad=skip_bad)
        corpus = Corpus.build(config, tokenizer=run.tokenizer)
        for note in corpus.notes:
            print(note, file=sys.stderr)
    tokens: Tokens = corpus.valid if part == "valid" else corpus.train
    if not len(tokens):
        raise ConfigError("there is no validation part: the run was trained with --valid 0; choose --part train")
    return tokens
