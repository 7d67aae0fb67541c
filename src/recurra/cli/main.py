"""The entry point: finds the command, and turns every failure into one line and an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

import recurra
from recurra.environment import is_follower
from recurra.errors import RecurraError, nearest
from recurra.memory import is_shortage

__all__ = ["main"]

COMMANDS = {
    "train": "Train a recurrent network: a language model, or one of another task.",
    "prepare": "Make a store of tokens from files of any size, to train on.",
    "evaluate": "Measure a run on a text, or on questions with answers.",
    "predict": "Answer questions: labels, tags, translations, captions, forecasts.",
    "generate": "Continue a prompt.",
    "score": "Show how surprising each line or token of a text is.",
    "info": "Describe a run: model, corpus, best numbers.",
    "inspect": "Look into a run: gradients, spectra, behaviour, gates, costs.",
    "export": "Write a run for other software, or smaller.",
    "explain": "Say which engine path runs a cell, and why.",
    "doctor": "Check this machine: versions, engine, devices, memory, disk.",
    "bench": "Measure this machine: its peak, recurra and torch.nn.",
}

DONE, FAULT, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


class Commands(click.Group):
    """Loads a command's module when it is called, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"recurra.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"unknown command '{args[0]}'{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(recurra.__version__, message="recurra %(version)s")
def commands() -> None:
    """Recurrent neural networks that remember.

    \b
    recurra train shakespeare.txt          train on a text file
    recurra generate runs/shakespeare-lstm --prompt "ROMEO:"
    recurra train --task classify reviews.tsv
    recurra predict runs/reviews-lstm new.txt
    recurra COMMAND --help                 options and an example
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 done, 1 a fault of ours, 2 the user's input, 130 interrupted.

    A process that still belongs to others ends here, with that status.
    """
    status = _run(list(sys.argv[1:] if arguments is None else arguments))
    distributed = sys.modules.get("torch.distributed")
    if status and distributed is not None and distributed.is_initialized():
        # On the way out of Python, threads that still wait for the others would make it end by SIGABRT.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _run(given: list[str]) -> int:
    debug = "--debug" in given
    try:
        status = commands.main(given, prog_name="recurra", standalone_mode=False, obj=given)
        return status if isinstance(status, int) else DONE
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED, debug=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USER_ERROR
    except click.ClickException as error:
        return _fail(" ".join(error.format_message().split()), USER_ERROR, debug)
    except RecurraError as error:
        return _fail(str(error), USER_ERROR, debug)
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does; what is left to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (MemoryError, OSError, RuntimeError) as error:
        if is_shortage(error):
            return _fail("out of memory; give it less at once, or run it where there is more", USER_ERROR, debug)
        if not isinstance(error, OSError):
            return _fault(error, debug)
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), USER_ERROR, debug)
    except Exception as error:
        return _fault(error, debug)


def _fault(error: Exception, debug: bool) -> int:
    return _fail(f"internal fault: {type(error).__name__}: {error} (--debug shows where)", FAULT, debug)


def _fail(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    # Of several processes with one command line the first one speaks; what the others alone have met is said already.
    if debug or not is_follower():
        print(f"recurra: {message}", file=sys.stderr)
    return status
