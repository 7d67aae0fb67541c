"""Several processes on one machine: started here, and what each of them does."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

import click

from recurra.environment import has_restarted, is_one_of_several, launched
from recurra.errors import ConfigError, DivergedError, ProcessError

if TYPE_CHECKING:
    from recurra.processes import Processes
    from recurra.training import Run, Trainer

__all__ = ["START", "check_processes", "launch", "train_as_one_of_several"]

FAULT, USER_ERROR, INTERRUPTED = 1, 2, 130
LOST = 75
"""Exit status of a process that has lost another one: EX_TEMPFAIL, try again."""

MOST = 1024
POLL_S = 0.2
QUIET = "RECURRA_LAUNCHED"
"""Says to a process that its launcher speaks of those that are lost."""

START = "--processes"


def check_processes(processes: int | None, restarts: int | None) -> None:
    """Raise ConfigError for numbers of processes and restarts that make no sense."""
    if processes is not None and is_one_of_several():
        raise ConfigError(f"torchrun says how many processes there are; leave out {START}")
    if processes is not None and not 1 <= processes <= MOST:
        raise ConfigError(f"{START} must be from 1 to {MOST:,}, not {processes}")
    if restarts is not None and (processes is None or restarts < 0):
        raise ConfigError(
            f"--restarts counts from 0, not {restarts}"
            if restarts < 0
            else f"--restarts says how often a process is replaced; give {START}, too"
        )


def train_as_one_of_several(
    start: Callable[[Processes], Trainer],
    finish: Callable[[Run], None],
    *,
    out: str | None,
    cell: str | None,
    arguments: Sequence[str],
    resumes: bool,
) -> None:
    """Train with the others; only the first process speaks, but for what the others alone have met.

    Args:
        start: makes the trainer, in the first process.
        finish: shows what came out, in the first process.
        arguments: of the command line, which tell one training of a job from another.
        resumes: a run is named on the command line, and need not be looked for.
    """
    job = None if resumes else launched()
    if job is not None:
        job = f"{job} {sha256(chr(0).join(arguments).encode()).hexdigest()[:16]}"
    rank = int(os.environ.get("RANK", 0)) if os.environ.get("RANK", "0").isdigit() else 0
    from recurra.processes import join
    from recurra.training import fit_together

    try:
        with join() as processes:
            run = fit_together(processes, lambda: start(processes), out=out, cell=cell, job=job, again=has_restarted())
            if processes.first:
                finish(run)
    except (KeyboardInterrupt, click.exceptions.Abort):
        if rank:
            raise click.exceptions.Exit(INTERRUPTED) from None
        raise
    except ProcessError as error:
        if not _is_said_already(error, rank):
            print(f"recurra: process {rank}: {error}", file=sys.stderr)
        raise click.exceptions.Exit(_status(error)) from None
    except DivergedError:
        if rank:
            raise click.exceptions.Exit(USER_ERROR) from None
        raise
    except Exception as error:
        if rank:
            print(f"recurra: process {rank}: {error}", file=sys.stderr)
        raise


def _is_said_already(error: ProcessError, rank: int) -> bool:
    from recurra.training import FollowedError

    return isinstance(error, FollowedError) or QUIET in os.environ


def _status(error: ProcessError) -> int:
    from recurra.training import FollowedError

    return USER_ERROR if isinstance(error, FollowedError) else LOST


def launch(arguments: Sequence[str], processes: int, restarts: int) -> int:
    """Start processes with the same command, replace them when one is lost, and return the exit status.

    Args:
        arguments: of ``recurra``, as given.
    """
    os.environ[QUIET] = "1"
    if os.path.isdir("/sys/class/net/lo"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException

    from recurra.cli.launcher import make_agent

    agent = make_agent(
        [sys.executable, "-m", "recurra", *_without(arguments)],
        processes=processes,
        restarts=restarts,
        job=uuid.uuid4().hex,
        poll_s=POLL_S,
        logs=DefaultLogsSpecs(),
        final=(USER_ERROR, INTERRUPTED),
        lost=LOST,
    )
    try:
        return agent.finish()
    except SignalException as error:
        return 128 + int(error.sigval)
    except KeyboardInterrupt:
        return INTERRUPTED


def _without(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without those that are for the launcher."""
    kept: list[str] = []
    is_value = False
    for argument in arguments:
        if is_value:
            is_value = False
        elif argument in (START, "--restarts"):
            is_value = True
        elif not argument.startswith((f"{START}=", "--restarts=")):
            kept.append(argument)
    return kept
