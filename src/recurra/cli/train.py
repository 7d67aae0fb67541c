"""``recurra train``."""

from __future__ import annotations

import ctypes
import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recurra.cli.answers import print_assessment
from recurra.cli.options import debug_option, json_option, print_json, progress_bar
from recurra.errors import ConfigError

if TYPE_CHECKING:
    from recurra.training import Run, RunConfig

EXAMPLES = """
\b
Examples:
  recurra train                              the built-in corpus, in seconds
  recurra train shakespeare.txt --hidden 512 --epochs 10
  recurra train ptb.train.txt --valid ptb.valid.txt --tokenizer word --tie
  recurra train counting --recipe counting-7
  recurra train --resume runs/shakespeare-lstm
  recurra train --task classify reviews.tsv --bidirectional
  recurra train --task translate pairs.tsv --attention dot
  recurra train --task forecast sales.csv --target sales --horizon 12
"""

# name, type, help; the settings' own classes validate the values.
SETTINGS: tuple[tuple[str, Any, str], ...] = (
    (
        "cell",
        str,
        "rnn, rnn-relu, irnn, indrnn, jordan, ugrnn; gru, gru-original, gru-layernorm, mgu, mingru; lstm, "
        "lstm-peephole, lstm-coupled, lstm-layernorm, lstm-mogrifier, minlstm, slstm; sru, rglru; or MODULE:CLASS.",
    ),
    ("hidden", int, "Units of each layer."),
    ("layers", int, "Number of layers."),
    ("embedding", int, "Features of a token. [default: as --hidden]"),
    ("dropout", float, "Dropout, locked over time."),
    ("input-dropout", float, "Dropout before the layers alone. [default: as --dropout]"),
    ("embedding-dropout", float, "Dropout of whole embeddings."),
    ("weight-drop", float, "Dropout of recurrent weights."),
    ("zoneout", float, "Probability of keeping a state's entry as it was."),
    ("tie/no-tie", bool, "Share the weights of embedding and output layer."),
    ("residual/no-residual", bool, "Add a layer's input to its output."),
    ("init", str, "Initialisation of input weights: uniform, xavier, orthogonal, identity."),
    ("recurrent-init", str, "The same of recurrent weights."),
    ("tokenizer", str, "char, byte, word or bpe."),
    ("vocab", int, "Largest vocabulary, for char, word and bpe."),
    ("partition", str, "sequential: carry the state; random: shuffled windows that start afresh."),
    ("shuffle/no-shuffle", bool, "Draw the windows' order, or the stream's beginning, anew in every epoch."),
    ("batch", int, "Rows read side by side."),
    (
        "backprop",
        str,
        "Tokens per window; or truncated:K1,K2, random:N, unbiased:N, online[:SPAN], full[:SPAN], "
        "checkpointed:MEMORY[:SPAN].",
    ),
    ("predict", str, "every next token of a window, or only the last."),
    ("ar", float, "Activation regularisation."),
    ("tar", float, "Temporal activation regularisation."),
    ("optimizer", str, "adamw, adam, rmsprop or sgd."),
    ("lr", float, "Learning rate at its highest."),
    ("weight-decay", float, "Weight decay; never on biases."),
    ("schedule", str, "constant, cosine, onecycle or plateau."),
    ("clip", float, "Largest norm of the gradient; 0 for none."),
    ("clip-value", float, "Largest entry of the gradient; 0 for none."),
    ("average", float, "Decay of the moving average of weights to keep; 0 for none."),
    ("keep", str, "Which weights to keep: the best by validation, or the last."),
    ("epochs", int, "Passes over the corpus."),
    ("steps", int, "Optimizer steps, in place of --epochs."),
    ("patience", int, "Stop after so many epochs without a better validation loss."),
    ("seed", int, "Seed of everything random."),
    ("device", str, "auto, cpu or cuda."),
    ("threads", int, "Threads of the CPU."),
    ("backend", str, "auto, llvm, library or loop: what computes the recurrence."),
)


TASK_SETTINGS: tuple[tuple[str, Any, str], ...] = (
    ("input", str, "Column to read. [default: by its name, or the first]"),
    ("target", str, "Column to learn: label, labels, text, caption; of series, one or several. [default: by its name]"),
    ("target-tokenizer", str, "Tokenizer of texts that are written."),
    ("target-vocab", int, "Largest vocabulary of texts that are written."),
    ("lowercase/no-lowercase", bool, "Read texts in lower case."),
    ("rate", int, "Samples per second of sounds; others are resampled."),
    ("mels", int, "Frequency bands of sounds."),
    ("size", int, "Height and width of pictures."),
    ("skip-bad/no-skip-bad", bool, "Leave out rows that cannot be used, and say so, instead of stopping."),
    ("bidirectional/no-bidirectional", bool, "Read forwards and backwards."),
    ("pooling", str, "classify: last, mean, max, attention, or several joined by +."),
    ("word-dropout", float, "Probability of reading a token as the unknown one."),
    ("output-dropout", float, "Dropout before the labels. [default: as --dropout]"),
    ("label-smoothing", float, "Share of a label, or token, that is spread over all."),
    ("mask", float, "Largest share of a sound's time and frequencies that a mask hides in training."),
    ("stride", int, "Frames of a sound that are read as one step."),
    ("centre/no-centre", bool, "Read each sound less its own mean: better for other voices and rooms."),
    ("blocks", int, "Blocks of convolutions over pictures; each halves height and width."),
    ("shift", float, "Largest share of height and width by which pictures are moved in training."),
    ("attention", str, "translate, caption: additive, dot or none."),
    ("decoder-hidden", int, "Units of each layer of the decoder."),
    ("decoder-layers", int, "Number of layers of the decoder."),
    ("summary/no-summary", bool, "Let the decoder see a summary of what was read at every step."),
    ("sampling", float, "Scheduled sampling: share of its own predictions that the decoder reads in the end."),
    ("horizon", int, "forecast: steps to forecast."),
    ("context", int, "Steps read before. [default: nine seasons, or 64]"),
    ("time", str, "Column of dates or rising numbers. [default: by its name]"),
    ("series", str, "Column that names the series, where a file holds several."),
    ("covariates", str, "Columns that are known of the future, too, separated by commas."),
    ("calendar", str, "auto: see the place in the day, week and year; or none."),
    ("season", int, "Steps after which patterns come again; 1 for none. [default: by the times]"),
    ("transform", str, "none, or log: the model sees logarithms."),
    ("gaps", str, "What happens to empty cells and times left out: error, or fill, with straight lines."),
    ("rows", int, "Read only the first rows of each series."),
    ("test", float, "End of each series that training never sees: a share, or a number of rows."),
    ("distribution", str, "gaussian, student or quantiles."),
    ("lags", str, "Steps back that the network sees, such as 1,2,24. [default: auto]"),
    ("scaling", str, "window: measured from the last value; training: by mean and deviation of the training part."),
    ("feed", str, "What stands for values to come: mean, or sample."),
)


def _settings(function: Any) -> Any:
    for name, kind, text in reversed(SETTINGS + TASK_SETTINGS):
        flags = "/".join(f"--{part}" for part in name.split("/"))
        function = click.option(flags, type=kind, default=None, help=text)(function)
    return function


@click.command("train", epilog=EXAMPLES)
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
@_settings
@json_option
@debug_option
def command(
    corpus: str | None,
    task: str | None,
    out: str | None,
    config_file: str | None,
    recipe: str | None,
    valid: str | None,
    resume: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a recurrent language model on CORPUS: a text file, a folder of text files, - for stdin, or `counting`.

    Without CORPUS it learns the built-in `counting`: numbers in words. Ends with the validation perplexity, a sample
    and the path of the run, which every other command reads.

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
    if resume is not None:
        run = _resume(
            resume,
            corpus,
            {**settings, "task": task, "out": out, "config": config_file, "recipe": recipe, "valid": valid},
        )
    else:
        run = _start(_resolve(corpus, task, config_file, recipe, valid, settings), out)
    _summarise(run, as_json)


def _keep_memory() -> None:
    """Let the C library keep freed memory: by default it hands large pieces back to the system at every step.

    Faulting those pages in again takes about a tenth of the time of training. Only where that library is glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold, a_gibibyte = -1, -3, 2**30
        mallopt(m_trim_threshold, 2 * a_gibibyte - 1)
        mallopt(m_mmap_threshold, a_gibibyte)


def _start(config: RunConfig, out: str | None) -> Run:
    import torch

    from recurra.checkpoint import RunDirectory
    from recurra.training import TASKS, Trainer

    if out is not None:
        RunDirectory(out).check_free()
    task = TASKS[config.task]
    with progress_bar("reading") as progress:
        data = task.make_data(config, progress)
    _check_memory(config, data)
    torch.manual_seed(config.training.seed)
    model = task.make_model(config, data)
    for note in data.notes:
        print(note, file=sys.stderr)
    return Trainer(model, data, out=out, config=config.training, recipe=config.recipe).fit()


def _check_memory(config: RunConfig, data: Any) -> None:
    """Refuse a model whose weights, gradients and two moments are larger than the machine."""
    import torch

    from recurra.training import TASKS

    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with torch.device("meta"):
            numbers = sum(p.numel() for p in TASKS[config.task].make_model(config, data).parameters())
    except RuntimeError:  # even the count of its numbers is too large for torch
        numbers = sys.maxsize
    if 16 * numbers > installed:
        raise ConfigError(
            f"training a model of {config.model.layers} x {config.model.hidden:,} units takes more memory than the "
            f"{installed / 2**30:.0f} GiB here; lower --hidden, --embedding or --layers"
        )


def _resume(path: str, corpus: str | None, settings: dict[str, Any]) -> Run:
    from recurra.training import Trainer

    cell = settings.pop("cell", None)
    refused = [f"--{name.replace('_', '-')}" for name, value in settings.items() if value is not None]
    if corpus is not None:
        refused.append(f"the corpus '{corpus}'")
    if refused:
        raise ConfigError(f"a resumed run keeps its settings: drop {', '.join(refused)}, or start a new run")
    return Trainer.resume(path, cell=cell).fit()


def _resolve(
    corpus: str | None,
    task: str | None,
    config_file: str | None,
    recipe: str | None,
    valid: str | None,
    settings: dict[str, Any],
) -> RunConfig:
    """Put the settings together: recipe, then file, then options."""
    from recurra.config import as_mapping
    from recurra.recipes import find_recipe, language, tasks
    from recurra.training import config_from_mapping, default_config

    if recipe is None and config_file is None and task in (None, "lm") and corpus in (None, "counting"):
        recipe = "counting"
    if recipe is not None and corpus is None and (recipe in language.RECIPES or recipe in tasks.RECIPES):
        raise ConfigError(f"the recipe '{recipe}' needs something to learn from: recurra train DATA --recipe {recipe}")
    file = {} if config_file is None else _read_toml(config_file)
    config = find_recipe(recipe) if recipe else default_config(file.get("task", task or "lm"))
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
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the settings in {path}: {reason}") from error
    version = values.pop("format", FORMAT)
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
        assessment = run.assess(progress=progress) if len(run.data.valid) else None
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
    from recurra.training import printable, validate

    with progress_bar("validating") as progress:
        score = validate(run.model, run.data.valid, run.config.training, exact=True, progress=progress)
    sample = run.model.generate(tokens=200, seed=run.config.training.seed, temperature=0.8)
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
