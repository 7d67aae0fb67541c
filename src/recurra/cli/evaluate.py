"""``recurra evaluate``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recurra.cli.adapting import Adapting, adapting_options
from recurra.cli.answers import print_assessment
from recurra.cli.options import debug_option, json_option, print_json, progress_bar, run_argument, trust_options
from recurra.cli.search import beam_options, take_beam
from recurra.cli.shortage import memory_advice
from recurra.errors import ConfigError

if TYPE_CHECKING:
    from recurra.data import Tokens
    from recurra.decoding import Beam
    from recurra.evaluation import Score
    from recurra.training import Run

PARTS = ("train", "valid", "test", "all")


EXAMPLES = """
\b
Examples:
  recurra evaluate runs/shakespeare-lstm other.txt --json
  recurra evaluate runs/shakespeare-lstm other.txt --dynamic --cache 500
  recurra evaluate runs/shakespeare-lstm --baselines
  recurra evaluate runs/reviews-lstm test.tsv
  recurra evaluate runs/french-gru test.tsv --beam 4
"""


@click.command("evaluate", epilog=EXAMPLES)
@run_argument
@click.argument("corpus", required=False)
@click.option("--part", type=click.Choice(PARTS), help="Part of the corpus. [default: all; without CORPUS valid]")
@click.option("--batch", default=1, show_default=True, help="Rows to cut the text into, for speed.")
@click.option("--warmup", default=0, show_default=True, help="Tokens before its own that each row reads, uncounted.")
@click.option("--reset-every", type=int, help="Forget the state after every so many tokens.")
@beam_options("length_penalty")
@adapting_options
@click.option("--baselines", is_flag=True, help="Show what counting n-grams in the training text achieves, too.")
@click.option("--skip-bad", is_flag=True, help="Leave out examples that cannot be used, and say so.")
@trust_options
@json_option
@debug_option
@memory_advice
def command(
    run: str,
    corpus: str | None,
    part: str | None,
    batch: int,
    warmup: int,
    reset_every: int | None,
    baselines: bool,
    skip_bad: bool,
    trust: bool,
    cell: str | None,
    as_json: bool,
    **more: Any,
) -> None:
    """Measure how well RUN predicts CORPUS: a file, a folder, - for stdin, `counting`, or what it was trained on.

    The text is one stream with the state carried along, so the result depends on nothing but model and text; every
    token but the first is predicted exactly once.

    With --cache and --dynamic the model learns from the text as it goes; nothing is scored after it was seen, and the
    run stays as it is.

    A run of another task answers the examples in CORPUS, beside the simplest ways to answer them; what that shows is
    drawn into the report of the run.
    """
    from recurra.config import check_at_least
    from recurra.training import Run

    check_at_least(1, batch=batch, reset_every=reset_every)
    check_at_least(0, warmup=warmup)
    if reset_every is not None and (batch > 1 or warmup):
        raise ConfigError("--reset-every already reads many pieces side by side; drop --batch and --warmup")
    beam = take_beam(more)
    adapts = Adapting.from_options(**more)
    adapts.check_reading(batch, warmup, reset_every)
    loaded = Run.load(run, cell=cell, trust=trust, small=True)
    if adapts.dynamic is not None:
        loaded.check_trainable()
    if loaded.config.task != "lm":
        if part == "test" and loaded.config.task != "forecast":
            raise ConfigError("only series are split off a test part; give a file to test on")
        if baselines:
            raise ConfigError(f"a run of --task {loaded.config.task} always stands beside baselines; drop --baselines")
        if part == "all" or batch > 1 or warmup or reset_every:
            raise ConfigError("--part all, --batch, --warmup and --reset-every are for language models; leave them out")
        if adapts:
            raise ConfigError("--dynamic and --cache are for language models; leave them out")
        _assess(loaded, corpus, part, skip_bad, as_json, beam)
        return
    if beam is not None:
        raise ConfigError("--beam is for tasks that write texts, and a language model is measured on a text; drop it")
    if reset_every is not None and loaded.tokenizer.labels:
        raise ConfigError("--reset-every would forget the labels of texts; leave it out")
    tokens = _tokens(loaded, corpus, part, skip_bad)
    with progress_bar("evaluating") as progress:
        reading = {} if reset_every is None else {"reset_every": reset_every}
        score, used = adapts.measure(loaded, tokens, progress=progress, batch=batch, warmup=warmup, **reading)
    if baselines:
        _print_beside(loaded, score, tokens, used, as_json)
        return
    if as_json:
        print_json(score.as_mapping() | used)
        return
    bits = "" if score.bits_per_char is None else f"\nbits/char   {score.bits_per_char:.4f}"
    click.echo(
        f"tokens      {score.tokens:,}\nloss        {score.loss_nats:.4f} nats per token\n"
        f"perplexity  {score.perplexity:.4f}\nbits/token  {score.bits_per_token:.4f}{bits}\n"
        f"accuracy    {score.accuracy:.4f}\nseconds     {score.seconds:.1f}"
    )


def _print_beside(run: Run, score: Score, tokens: Tokens, used: dict[str, Any], as_json: bool) -> None:
    """Print a score beside those of n-grams, counted in what the run was trained on."""
    from recurra.evaluation import assess_language_model

    with progress_bar("counting n-grams") as progress:
        assessment = assess_language_model(score, tokens, run.data.train, run.tokenizer, progress=progress)
    if as_json:
        beside = {"baselines": assessment.baselines, "verdict": assessment.verdict}
        print_json(score.as_mapping() | used | beside)
        return
    print_assessment(assessment)


def _assess(run: Run, source: str | None, part: str | None, skip_bad: bool, as_json: bool, beam: Beam | None) -> None:
    if source is not None and part is not None:
        raise ConfigError("--part chooses from what the run was trained on; give it or a file, not both")
    run.answering_task.check_beam(run, beam)
    questions = None
    if source is not None:
        with progress_bar("reading") as progress:
            questions = run.read(source, skip_bad=skip_bad, progress=progress)
        for note in questions.notes:
            print(note, file=sys.stderr)
    name = (part or "valid") if source is None else "stdin" if source == "-" else Path(source).stem
    with progress_bar("evaluating") as progress:
        assessment = run.assess(questions, name=name, beam=beam, progress=progress)
    if as_json:
        print_json(assessment.as_mapping())
    else:
        print_assessment(assessment)


def _tokens(run: Run, source: str | None, part: str | None, skip_bad: bool) -> Tokens:
    from recurra.data import Corpus, DataConfig, is_store

    if skip_bad and (source is None or run.config.data.condition is None):
        raise ConfigError("--skip-bad leaves out rows of a CORPUS that is a table of labelled texts; leave it out")
    if part == "test":
        raise ConfigError("a text has no test part; give the file to test on")
    if source is None or is_store(source):
        corpus = run.data if source is None else Corpus.build(DataConfig(source=source), tokenizer=run.tokenizer)
        part = part or "valid"
        if part == "all":
            what = "the run keeps its corpus" if source is None else f"{source} is a corpus"
            raise ConfigError(f"{what} in two parts; choose --part train or --part valid")
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
