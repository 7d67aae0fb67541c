"""The process that is killed: it trains, writes down every batch, and may kill itself at a chosen moment."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

from scenarios import make_trainer

import recurra.training.trainer as trainer_module
from recurra.data import NOTHING
from recurra.errors import RunError
from recurra.training import Reporter, Run, Trainer

__all__ = ["MOMENTS", "Plan", "live"]

MOMENTS = ("file", "torn", "step", "validation", "time")
"""Kinds of moments: a file operation, one that leaves a torn file, a step, part of a validation, any."""

FILE_EVENTS = {
    "open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.listdir", "os.scandir",
    "shutil.rmtree", "fsync",
}  # fmt: skip

LOGS = ("metrics.jsonl", "samples.txt")
"""What was on the disk before is synced again: only what was appended since may be lost."""


class Plan(NamedTuple):
    """When a process kills itself: at the n-th moment of a kind, from 1; 0 never. Draws are made from `seed`."""

    kind: str = "file"
    at: int = 0
    seed: int = 0


class Killer:
    """Counts moments and kills the process at the planned one."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder, self.random = plan, str(folder), random.Random(plan.seed)
        self.counts = dict.fromkeys(MOMENTS, 0)
        self.fsync = os.fsync
        os.fsync = self._fsync
        sys.addaudithook(self._audit)

    def moment(self, kind: str) -> None:
        self.counts[kind] += 1
        if self.plan.kind == kind and self.plan.at == self.counts[kind]:
            os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in FILE_EVENTS or not args or not isinstance(args[0], str | os.PathLike):
            return
        path = os.fspath(args[0])
        if not isinstance(path, str) or not path.startswith(self.folder):
            return
        if event == "open" and isinstance(args[1], str) and "a" in args[1]:
            self._tear(path, appending=True)
        self.moment("file")

    def _fsync(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.startswith(self.folder):
            if os.path.isfile(path) and os.path.basename(path) not in LOGS:
                self._tear(path, appending=False)
            self.moment("file")
        self.fsync(descriptor)

    def _tear(self, path: str, *, appending: bool) -> None:
        """Leave half a write where it is the planned moment: cut what is not yet on the disk, or append half a line."""
        if self.plan.kind == "torn" and self.plan.at == self.counts["torn"] + 1:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_APPEND if appending else 0))
            if appending:
                os.write(descriptor, b'{"step": 999, "loss_na')
            else:
                os.ftruncate(descriptor, self.random.randint(0, os.fstat(descriptor).st_size))
        self.moment("torn")


class Watched(Reporter):
    """Tells the killer of steps and validations."""

    def __init__(self, killer: Killer) -> None:
        self.killer = killer

    def step(self, step: int, loss_nats: float, grad_norm: float) -> None:
        self.killer.moment("step")

    def validating(self, done: int, total: int) -> None:
        self.killer.moment("validation")


def live(scenario: str, out: Path, logs: Path, plan: Plan, *, every_s: float) -> None:
    """Begin or resume a run, to its end or to the planned death; what was done is left in `logs`.

    Args:
        logs: folder for ``trace.jsonl``, to which a line is added per trained batch; for ``notes.jsonl``; and for
            ``done.json`` at the end.
        every_s: seconds between checkpoints.
    """
    trace = os.open(logs / "trace.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    killer = Killer(plan, out)
    trainer_module.CHECKPOINT_EVERY_S = every_s
    train_batch = Trainer._train_batch

    def traced(self: Trainer, batch: Any) -> None:
        os.write(trace, (json.dumps({"step": self.step, "epoch": self.epoch, "read": _read(batch)}) + "\n").encode())
        train_batch(self, batch)

    Trainer._train_batch = traced  # type: ignore[method-assign]
    reporter = Watched(killer)
    try:
        trainer = Trainer.resume(out, reporter=reporter)
        begun = False
    except RunError as error:
        # What a user is told: there is none yet, or its making was cut short. Then the same command is given again.
        if "\n" in str(error) or not ("no run directory" in str(error) or "no config" in str(error)
                                      or "begins it again" in str(error)):  # fmt: skip
            raise
        trainer, begun = make_trainer(scenario, out, reporter), True
    run = trainer.fit()
    said = run.model.generate("she", tokens=60, seed=3) if run.config.task == "lm" else _answers(run)
    done = {"said": said, "steps": trainer.step, "counts": killer.counts, "begun": begun}
    (logs / "done.json").write_text(json.dumps(done))


def _read(batch: Any) -> list[int]:
    """Return the positions of the tokens that a batch predicts, or the numbers of its examples."""
    if not hasattr(batch, "offset"):
        return [int(n) for n in batch.numbers]
    counted = (batch.targets != NOTHING).nonzero().tolist()
    return [int(batch.offset[b]) + t + 1 for t, b in counted]


def _answers(run: Run) -> list[str]:
    return [f"{p.label} {p.probabilities.tolist()}" for p in run.model.predict(["good wet day", "poor cold day"])]
