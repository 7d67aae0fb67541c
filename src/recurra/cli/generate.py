"""``recurra generate``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recurra.cli.adapting import behind_cache, cache_options, take_cache
from recurra.cli.options import debug_option, json_option, load_language_model, print_json, run_argument, trust_options
from recurra.cli.search import DRAWN, beam_options, check_no_draws, take_beam
from recurra.cli.shortage import memory_advice
from recurra.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from recurra.decoding import Beam
    from recurra.models import Reader

EXAMPLE = """
\b
Examples:
  recurra generate runs/shakespeare-lstm --prompt "ROMEO:" --temperature 0.8
  recurra generate runs/shakespeare-lstm --regex "[A-Z]{3,9}:" --samples 5
"""


@click.command("generate", epilog=EXAMPLE)
@run_argument
@click.option("--prompt", help="Text to continue. [default: a fresh start]")
@click.option("--prompt-file", type=click.Path(), help="The same from a file, - for stdin.")
@click.option(
    "--condition", metavar="LABEL", help="Write as texts with this label, for a run trained with --condition."
)
@click.option("--tokens", default=200, show_default=True, help="How many tokens to make at most.")
@click.option("--temperature", type=float, help="Below 1 bolder, above 1 wilder. [default: 1]")
@click.option("--top-k", type=int, help="Draw from the K most likely tokens only.")
@click.option("--top-p", type=float, help="Draw from the fewest tokens whose probability reaches P.")
@click.option("--min-p", type=float, help="Draw from tokens at least P times as likely as the most likely one.")
@click.option("--typical", type=float, help="Draw from the tokens of most usual surprise that together reach P.")
@click.option("--repetition-penalty", type=float, metavar="X", help="Above 1: what came before is less likely.")
@click.option("--greedy", is_flag=True, help="Always take the most likely token.")
@beam_options("best", "length_penalty", "groups", "diversity")
@click.option("--stop", multiple=True, metavar="TEXT", help="Stop before this text; may be repeated.")
@click.option("--ban", multiple=True, metavar="TEXT", help="Never write this text; may be repeated.")
@click.option("--force", metavar="TEXT", help="Begin with this text.")
@click.option("--regex", metavar="RE", help="Write a text that matches, from its first character to its last.")
@click.option(
    "--json-schema", type=click.Path(), metavar="FILE", help="Write JSON that is valid by the schema in FILE."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
@click.option("--samples", default=1, show_default=True, help="How many texts to make, side by side.")
@cache_options
@trust_options
@json_option
@debug_option
@memory_advice
def command(
    run: str,
    prompt: str | None,
    prompt_file: str | None,
    condition: str | None,
    tokens: int,
    stop: tuple[str, ...],
    seed: int,
    samples: int,
    json_schema: str | None,
    trust: bool,
    cell: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Continue a prompt with RUN; the text appears as it is made, or with --beam once it has been found."""
    from recurra.config import check_at_least
    from recurra.data import check_seen
    from recurra.models import generate_text, generate_texts

    check_at_least(1, tokens=tokens, samples=samples)
    check_at_least(0, seed=seed)
    beam = take_beam(given)
    check_no_draws(click.get_current_context(), beam)
    cache = take_cache(given)
    text = _prompt(prompt, prompt_file)
    loaded = load_language_model(run, cell=cell, trust=trust, small=True)
    if loaded.tokenizer.unknown is not None and (note := check_seen(loaded.tokenizer, text, "the prompt")):
        print(note, file=sys.stderr)
    model = behind_cache(loaded.model, cache)
    settings = {name: value for name, value in given.items() if value is not None}
    if condition is not None:
        settings["condition"] = condition
    if json_schema is not None:
        settings["json_schema"] = _schema(json_schema)
    if beam is not None:
        wishes = {name: value for name, value in settings.items() if name not in DRAWN}
        _search(model, text, beam, as_json, tokens=tokens, stop=stop, **wishes)
        return
    if samples == 1 and not as_json:
        for piece in generate_text(model, text, tokens=tokens, seed=seed, stop=stop, **settings):
            click.echo(_shown(piece), nl=False)
            sys.stdout.flush()
        click.echo()
        return
    made = generate_texts(model, text, samples=samples, tokens=tokens, seed=seed, stop=stop, **settings)
    if as_json:
        print_json({"prompt": text, **({"condition": condition} if condition else {}), "samples": made})
        return
    for number, sample in enumerate(made, 1):
        click.echo(f"--- {number}\n{_shown(sample)}")


def _search(model: Reader, prompt: str, beam: Beam, as_json: bool, **settings: Any) -> None:
    """Print the best texts that a beam finds; several with their log-probabilities."""
    from recurra.models import search_texts

    found = search_texts(model, prompt, **asdict(beam), **settings)
    if as_json:
        named = {"condition": settings["condition"]} if "condition" in settings else {}
        print_json({"prompt": prompt, **named, "found": [text._asdict() for text in found]})
    elif beam.best == 1:
        click.echo(_shown(found[0].text))
    else:
        for number, (text, log_p, _) in enumerate(found, 1):
            click.echo(f"--- {number}  ln p {log_p:.4f}\n{_shown(text)}")


def _shown(text: str) -> str:
    """Return what can be printed: control characters do nothing to a terminal."""
    from recurra.training import printable

    return printable(text) if sys.stdout.isatty() else text


def _prompt(prompt: str | None, file: str | None) -> str:
    if file is None:
        if prompt == "":
            raise ConfigError("the prompt is empty; leave --prompt out for a fresh start")
        return prompt or ""
    if prompt is not None:
        raise ConfigError("give --prompt or --prompt-file, not both")
    text = _read(file, "the prompt")
    if not text:
        raise CorpusError(f"the prompt in {file} is empty; leave --prompt-file out for a fresh start")
    return text


def _schema(file: str) -> Any:
    text = _read(file, "the JSON schema")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the JSON schema in {file} is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ConfigError(f'the JSON schema in {file} must be an object, such as {{"type": "integer"}}')
    return schema


def _read(file: str, what: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode()
    except OSError as error:
        raise CorpusError(f"cannot read {what} in {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{what} in {file} is not UTF-8 at byte {error.start}") from error
