"""``recurra generate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from recurra.cli.options import debug_option, json_option, load_language_model, print_json, run_argument, trust_options
from recurra.errors import ConfigError, CorpusError

EXAMPLE = """
\b
Example:
  recurra generate runs/shakespeare-lstm --prompt "ROMEO:" --temperature 0.8
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
@click.option("--greedy", is_flag=True, help="Always take the most likely token.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Stop before this text; may be repeated.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
@click.option("--samples", default=1, show_default=True, help="How many texts to make, side by side.")
@trust_options
@json_option
@debug_option
def command(
    run: str,
    prompt: str | None,
    prompt_file: str | None,
    condition: str | None,
    tokens: int,
    stop: tuple[str, ...],
    seed: int,
    samples: int,
    trust: bool,
    cell: str | None,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Continue a prompt with RUN; the text appears as it is made."""
    from recurra.config import check_at_least
    from recurra.data import check_seen
    from recurra.models import generate_text, generate_texts
    from recurra.training import printable

    check_at_least(1, tokens=tokens, samples=samples)
    check_at_least(0, seed=seed)
    text = _prompt(prompt, prompt_file)
    loaded = load_language_model(run, cell=cell, trust=trust)
    if loaded.tokenizer.unknown is not None and (note := check_seen(loaded.tokenizer, text, "the prompt")):
        print(note, file=sys.stderr)
    if condition is not None:
        sampling["condition"] = condition
    settings = {name: value for name, value in sampling.items() if value is not None}
    if samples == 1 and not as_json:
        for piece in generate_text(loaded.model, text, tokens=tokens, seed=seed, stop=stop, **settings):
            click.echo(printable(piece) if sys.stdout.isatty() else piece, nl=False)
            sys.stdout.flush()
        click.echo()
        return
    made = generate_texts(loaded.model, text, samples=samples, tokens=tokens, seed=seed, stop=stop, **settings)
    if as_json:
        print_json({"prompt": text, **({"condition": condition} if condition else {}), "samples": made})
        return
    for number, sample in enumerate(made, 1):
        click.echo(f"--- {number}\n{sample}")


def _prompt(prompt: str | None, file: str | None) -> str:
    if file is None:
        return prompt or ""
    if prompt is not None:
        raise ConfigError("give --prompt or --prompt-file, not both")
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode()
    except OSError as error:
        raise CorpusError(f"cannot read the prompt in {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"the prompt in {file} is not UTF-8 at byte {error.start}") from error
