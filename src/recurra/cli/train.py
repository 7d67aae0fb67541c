"""``recurra train``."""

from __future__ import annotations

import ctypes
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recurra.cli.answers import print_assessment
from recurra.cli.options import debug_option, json_option, print_json, progress_bar
from recurra.cli.settings import Grouped, with_settings
from recurra.cli.shortage import memory_advice
from recurra.cli.together import check_processes, launch, train_as_one_of_several
from recurra.environment import is_one_of_several
from recurra.errors import ConfigError
from recurra.memory import as_size, free_bytes, installed_bytes

if TYPE_CHECKING:
    from recurra.processes import Processes
    from recurra.training import Run, RunConfig, Trainer

EXAMPLES = """
\b
Examples:
  recurra train                              the built-in corpus, in seconds
  recurra train shakespeare.txt --hidden 512 --epochs 10
  recurra train ptb.train.txt --valid ptb.valid.txt --tokenizer word --tie
  recurra train counting --recipe counting-7
  recurra train wells.txt --from runs/tolstoy-lstm
  recurra train names.tsv --condition language
  recurra train --resume runs/shakespeare-lstm
  recurra train shakespeare.txt --processes 4
  recurra train --task classify reviews.tsv --bidirectional
  recurra train --task translate pairs.tsv --attention dot
  recurra train --task forecast sales.csv --target sales --horizon 12
"""


@click.command("train", cls=Grouped, epilog=EXAMPLES)
@click.argument("corpus", required=False)
@click.option(
    "--task", help="What to learn: lm, a language model, classify, tag, translate, caption or forecast. [default: lm]"
)
@click.option("--out", type=click.Path(), help="Run directory to make. [default: runs/<corpus>-<cell>]")
@click.option(
    "--config", "config_file", type=click.Path(), help="Settings from a TOML file, such as a run's config.toml."
)
@click.option("--recipe", help="A published protocol, whole; options after it override.")
@click.option("--valid", help="Share to validate on (of a text or series its end), or a file. [default: 0.1]")
@click.option("--resume", type=click.Path(), help="Continue this run exactly where its last checkpoint stands.")
@click.option(
    "--from", "start", type=click.Path(), help="Begin with the weights and the vocabulary, which grows, of this run."
)
@click.option("--processes", type=int, help="Processes on this machine that share each batch. [default: 1]")
@click.option("--restarts", type=int, help="How often lost processes are started again, with --processes. [default: 3]")
@with_settings
@json_option
@debug_option
@memory_advice
def command(
    corpus: str | None,
    task: str | None,
    out: str | None,
    config_file: str | None,
    recipe: str | None,
    valid: str | None,
    resume: str | None,
    start: str | None,
    processes: int | None,
    restarts: int | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Train a recurrent language model on CORPUS: a text file, a folder of text files, a store that
    `recurra prepare` has made, - for stdin, or `counting`.

    Without CORPUS it learns the built-in `counting`: numbers in words. Ends with the validation perplexity, a sample
    and the path of the run, which every other command reads.

    With --condition CORPUS is a table, .tsv, .csv or .jsonl, of texts and their labels; `generate --condition LABEL`
    then writes texts with that label.

    \b
    With --task it learns something else, from
      classify   a table of text (or the name of a sound or picture) and label, or a folder for each label
      tag        words and labels in columns, a blank line after each sentence; or lines of JSON
      translate  a table of two texts
      caption    a table of pictures and captions
      forecast   a table with times and numbers
    and ends with how well it does beside the simplest ways to do it.
    """
    _keep_memory()
    settings = {name: value for name, value in options.items() if value is not None}
    check_processes(processes, restarts)
    cell = settings.get("cell")
    make: Callable[[Processes], Trainer]
    if resume is not None:
        named = {"task": task, "out": out, "config": config_file, "recipe": recipe, "valid": valid, "from": start}
        make = _resume(resume, corpus, {**settings, **named})
    else:
        begin = None if start is None else _open_start(start, corpus, task, recipe, settings.get("cell"))
        make = _start(_resolve(corpus, task, config_file, recipe, valid, settings, begin), out, begin)
    if processes is not None and processes > 1:
        return launch(click.get_current_context().obj, processes, 3 if restarts is None else restarts)
    if not is_one_of_several():
        from recurra.processes import ALONE

        _summarise(make(ALONE).fit(), as_json)
        return 0
    train_as_one_of_several(
        make,
        lambda run: _summarise(run, as_json),
        out=out,
        cell=cell,
        arguments=click.get_current_context().obj,
        resumes=resume is not None,
    )
    return 0


def _keep_memory() -> None:
    """Let the C library keep freed memory: by default it hands large pieces back to the system at every step.

    Faulting those pages in again takes about a tenth of the time of training. Only where that library is glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold, a_gibibyte = -1, -3, 2**30
        mallopt(m_trim_threshold, 2 * a_gibibyte - 1)
        mallopt(m_mmap_threshold, a_gibibyte)


def _open_start(path: str, corpus: str | None, task: str | None, recipe: str | None, cell: str | None) -> Run:
    """Load the run to begin with, once it is certain that nothing else says what the model is."""
    from recurra.training import Run

    if corpus is None:
        raise ConfigError(f"--from needs a text to go on to: recurra train TEXT --from {path}")
    if recipe is not None:
        raise ConfigError(f"--recipe {recipe} describes a model, and --from brings one; leave one of them out")
    if task not in (None, "lm"):
        raise ConfigError(f"--from is for language models, and has no meaning for --task {task}; leave one of them out")
    return Run.load(path, cell=cell)


def _start(config: RunConfig, out: str | None, begin: Run | None) -> Callable[[Processes], Trainer]:
    """Return what makes the trainer of a new run."""
    return lambda processes: _new_trainer(config, out, begin, processes)


def _new_trainer(config: RunConfig, out: str | None, begin: Run | None, processes: Processes) -> Trainer:
    import torch

    from recurra.checkpoint import RunDirectory
    from recurra.training import TASKS, Trainer, adapt

    if out is not None:
        RunDirectory(out).check_free()
    task = TASKS[config.task]
    if begin is None:
        with progress_bar("reading") as progress:
            data = task.make_data(config, progress)
        _check_memory(config, data)
        torch.manual_seed(config.training.seed)
        model: Any = task.make_model(config, data)
    else:
        model, data = adapt(begin, config)
        known = len(begin.tokenizer)
        print(f"vocabulary: {known:,} tokens known, {len(data.tokenizer) - known:,} new", file=sys.stderr)
    for note in data.notes:
        print(note, file=sys.stderr)
    settings = {"config": config.training, "recipe": config.recipe, "origin": config.origin}
    return Trainer(model, data, out=out, processes=processes, **settings)


def _check_memory(config: RunConfig, data: Any) -> None:
    """Refuse a model whose weights alone are larger than the machine; warn of a training that may not fit what is free.

    Of a language model a window is counted, too; of other tasks weights, gradients and moments.
    """
    import torch

    from recurra.training import TASKS
    from recurra.training.needs import describe_needs, needs

    installed = installed_bytes()
    on_a_gpu = config.training.device != "cpu" and torch.cuda.is_available()
    free, where = (torch.cuda.mem_get_info()[0], "on the GPU") if on_a_gpu else (free_bytes(), "here")
    try:
        with torch.device("meta"):
            model = TASKS[config.task].make_model(config, data)
        numbers = sum(p.numel() for p in model.parameters())
    except RuntimeError:  # even the count of its numbers is too large for torch
        numbers = sys.maxsize
    if 16 * numbers > installed:
        raise ConfigError(
            f"training a model of {config.model.layers} x {config.model.hidden:,} units takes more memory than the "
            f"{installed / 2**30:.0f} GiB here; lower --hidden, --embedding or --layers"
        )
    steps = config.training.policy.span if config.task == "lm" else 1
    found = needs(model, config.training, steps, config.training.batch)
    if sum(need.bytes for need in found) > free:
        print(f"warning: only {as_size(free)} are free {where}, and {describe_needs(found)}", file=sys.stderr)


def _resume(path: str, corpus: str | None, settings: dict[str, Any]) -> Callable[[Processes], Trainer]:
    """Return what makes the trainer of a run that goes on."""
    cell = settings.pop("cell", None)
    refused = [f"--{name.replace('_', '-')}" for name, value in settings.items() if value is not None]
    if corpus is not None:
        refused.append(f"the corpus '{corpus}'")
    if refused:
        raise ConfigError(f"a resumed run keeps its settings: drop {', '.join(refused)}, or start a new run")
    return lambda processes: _resumed_trainer(path, cell, processes)


def _resumed_trainer(path: str, cell: str | None, processes: Processes) -> Trainer:
    from recurra.training import Trainer

    return Trainer.resume(path, cell=cell, processes=processes)


def _resolve(
    corpus: str | None,
    task: str | None,
    config_file: str | None,
    recipe: str | None,
    valid: str | None,
    settings: dict[str, Any],
    begin: Run | None,
) -> RunConfig:
    """Put the settings together: recipe, then file, then options."""
    from recurra.config import as_mapping
    from recurra.recipes import find_recipe, language, tasks
    from recurra.training import adapted_config, config_from_mapping, default_config

    if recipe is None and config_file is None and task in (None, "lm") and corpus in (None, "counting"):
        recipe = "counting"
    if recipe is not None and corpus is None and (recipe in language.RECIPES or recipe in tasks.RECIPES):
        raise ConfigError(f"the recipe '{recipe}' needs something to learn from: recurra train DATA --recipe {recipe}")
    file = {} if config_file is None else _read_toml(config_file)
    if begin is not None:
        if file.get("task", "lm") != "lm":
            raise ConfigError(f"--from is for language models, and {config_file} has the task {file['task']}")
        config = adapted_config(begin)
    else:
        config = find_recipe(recipe) if recipe else default_config(str(file.get("task", task or "lm")))
    if task is not None and task != config.task:
        raise ConfigError(f"--task {task} does not go with the task of {recipe or config_file}, which is {config.task}")
    tables = as_mapping(config)
    for name, value in file.items():
        tables[name] = {**tables.get(name, {}), **value} if isinstance(value, dict) else value
    if corpus is not None:
        settings["source"] = corpus
    elif not config.data.source and not tables["data"].get("source"):
        raise ConfigError(f"--task {config.task} needs data to learn from: recurra train --task {config.task} DATA")
    if valid is not None:
        settings["valid"] = _fraction(valid)
    for name, value in settings.items():
        tables.setdefault(_owner(config, name), {})[name] = value
    return config_from_mapping(tables, config_file or "")


def _owner(config: RunConfig, name: str) -> str:
    try:
        return config.owner(name)
    except ConfigError:
        raise ConfigError(f"--{name.replace('_', '-')} has no meaning for --task {config.task}; leave it out") from None


def _read_toml(path: str) -> dict[str, Any]:
    from recurra.checkpoint import FORMAT

    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the settings in {path}: {reason}") from error
    version = values.pop("format", FORMAT)
    values.pop("origin", None)  # a run from the same settings begins with what it is told
    if not isinstance(version, int) or version > FORMAT:
        raise ConfigError(f"{path} has format {version}, newer than the {FORMAT} that this recurra reads; upgrade")
    for table in ("data", "model", "training"):
        if not isinstance(values.get(table, {}), dict):
            raise ConfigError(f"{path}: '{table}' must be a table of settings, not {values[table]!r}")
    return values


def _fraction(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _summarise(run: Run, as_json: bool) -> None:
    if run.config.task == "lm":
        _summarise_language(run, as_json)
        return
    with progress_bar("evaluating") as progress:
        part = "test" if len(getattr(run.data, "test", ())) else "valid"
        assessment = run.assess(name=part, progress=progress) if len(getattr(run.data, part)) else None
    if as_json:
        numbers = {} if assessment is None else assessment.as_mapping()
        print_json({"run": str(run.path), **numbers, "curve": run.verdict})
        return
    if assessment is not None:
        print_assessment(assessment)
    click.echo(f"curve:      {run.verdict}")
    click.echo(f"pictures:   {run.directory.report}")
    click.echo(f"run:        {run.path}")


def _summarise_language(run: Run, as_json: bool) -> None:
    from recurra.training import printable, sample_text, validate

    with progress_bar("validating") as progress:
        score = validate(run.model, run.data.valid, run.config.training, exact=True, progress=progress)
    sample = sample_text(run.model, tokens=200, seed=run.config.training.seed)
    if as_json:
        numbers = {} if score is None else score.as_mapping()
        print_json({"run": str(run.path), **numbers, "sample": sample, "verdict": run.verdict})
        return
    if score is not None:
        bits = "" if score.bits_per_char is None else f", {score.bits_per_char:.3f} bits per character"
        click.echo(
            f"validation: perplexity {score.perplexity:.3f}, {score.loss_nats:.4f} nats per token{bits}, "
            f"accuracy {score.accuracy:.4f}"
        )
    click.echo(f"verdict:    {run.verdict}")
    click.echo(f"sample:     {printable(sample)}")
    click.echo(f"curves:     {run.directory.report / 'curves.png'}")
    click.echo(f"run:        {run.path}")
