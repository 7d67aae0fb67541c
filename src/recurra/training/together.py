"""What the processes of one training do in step: they add up gradients, agree on when to stop, and share a run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from recurra.checkpoint import Generation, RunDirectory
from recurra.errors import ConfigError, ProcessError, RunError
from recurra.processes import ALONE, Processes
from recurra.state import digest_tensors

if TYPE_CHECKING:
    from recurra.training.run import Run
    from recurra.training.trainer import Trainer

__all__ = [
    "FollowedError",
    "SharedRun",
    "add_up",
    "check_alike",
    "check_rows",
    "choose_device",
    "choose_threads",
    "fit_together",
    "note_job",
    "run_of_job",
]

PATIENCE_S = 15.0
"""How long a run directory may take to be seen on another machine."""
FINISHED = " finished"
"""What a run says behind the name of a job that is done."""


class FollowedError(ProcessError):
    """The first process has failed, and has said why."""


def add_up(model: nn.Module, processes: Processes, *numbers: float | Tensor) -> list[float]:
    """Add up the gradients of all processes, and some numbers with them, in one message.

    One buffer in one fixed order, so that the same step gives the same bits in every process and every time. A
    parameter that no process has a gradient of stays without one.

    Returns: the sums of the numbers.
    """
    if not processes.several:
        return [float(number) for number in numbers]
    parameters = [p for p in model.parameters() if p.requires_grad]
    like = parameters[0]
    dtype = like.dtype if like.dtype == torch.float64 else torch.float32
    has = [0.0 if p.grad is None else 1.0 for p in parameters]
    head = torch.stack([torch.as_tensor(n, dtype=dtype, device=like.device) for n in (*numbers, *has)])
    grads = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).to(dtype) for p in parameters]
    sums = processes.add_up(torch.cat([head, *grads]))
    totals: list[float] = sums[: len(head)].tolist()
    parts = sums[len(head) :].split([p.numel() for p in parameters])
    for parameter, found, part in zip(parameters, totals[len(numbers) :], parts, strict=True):
        if found:
            parameter.grad = part.view_as(parameter).to(parameter.dtype)
    return totals[: len(numbers)]


def check_rows(rows: int, processes: Processes) -> None:
    """Raise ConfigError if a batch has fewer rows than there are processes."""
    if rows < processes.size:
        raise ConfigError(
            f"{processes.size} processes cannot share a batch of {rows} rows; raise --batch, or start fewer"
        )


def choose_device(name: str, processes: Processes) -> torch.device:
    """Return the device of this process: of several on one machine each has a graphics card of its own.

    Raises: ConfigError if there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device here; leave out --device, or take --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if not processes.several:
        return torch.device("cuda")
    if (cards := torch.cuda.device_count()) < processes.local_size:
        raise ConfigError(
            f"{processes.local_size} processes on this machine need a CUDA device each, and there are {cards}; "
            f"start {cards}, or take --device cpu"
        )
    torch.cuda.set_device(processes.local_rank)
    return torch.device("cuda", processes.local_rank)


def choose_threads(wanted: int | None, processes: Processes) -> None:
    """Let torch use so many threads, by default all; of several processes on this machine each its part of them."""
    if processes.local_size > 1:
        each = max(1, len(os.sched_getaffinity(0)) // processes.local_size)
        wanted = min(wanted or each, each)
    if wanted:
        torch.set_num_threads(wanted)


def check_alike(model: nn.Module, step: int, processes: Processes) -> None:
    """Raise ProcessError unless all processes are at the same step with the same weights, bit for bit."""
    if not processes.several:
        return
    digest = digest_tensors({"step": torch.tensor(step), **model.state_dict()})
    found = processes.gather(torch.tensor([int(digest[:14], 16)])).flatten().tolist()
    if others := [rank for rank, value in enumerate(found) if value != found[0]]:
        raise ProcessError(
            f"at step {step} process {others[0]} of {processes.size} has other weights than the first; do all machines "
            f"run the same versions and see the same run? Continue from the last checkpoint with --resume"
        )


class SharedRun(RunDirectory):
    """A run directory of several processes: the first one writes, the others read. They share a file system."""

    processes: Processes = ALONE

    @classmethod
    def of(cls, run: RunDirectory, processes: Processes) -> RunDirectory:
        """Return a run directory as a process sees it; alone, as it is."""
        if not processes.several:
            return run
        shared = cls(run.path)
        shared.processes = processes
        return shared

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Write the settings, once."""
        if self.processes.first:
            super().write_config(settings)

    def write_manifest(self) -> None:
        """Note the digests, once."""
        if self.processes.first:
            super().write_manifest()

    def write_model(self, tensors: Mapping[str, Tensor], *, spare: bool = False) -> None:
        """Replace the weights to use, once."""
        if self.processes.first:
            super().write_model(tensors, spare=spare)

    def mend_model(self, last: Mapping[str, Tensor]) -> str | None:
        """Write damaged weights again, once."""
        return super().mend_model(last) if self.processes.first else None

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a line, once."""
        if self.processes.first:
            super().append_metrics(row)

    def append_timing(self, row: Mapping[str, Any]) -> None:
        """Add a line, once."""
        if self.processes.first:
            super().append_timing(row)

    def append_sample(self, text: str) -> None:
        """Add a sample, once."""
        if self.processes.first:
            super().append_sample(text)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl to the first process, which draws them."""
        return super().read_metrics() if self.processes.first else []

    def write_generation(self, generation: Generation) -> None:
        """Add a generation, once."""
        if self.processes.first:
            super().write_generation(generation)

    def read_generation(
        self, accept: Callable[[Mapping[str, Any]], bool] | None = None, *, cut: bool = True
    ) -> tuple[Generation, list[str]]:
        """Return the newest generation; only the first process removes and cuts what came after it."""
        return super().read_generation(accept, cut=cut and self.processes.first)

    def drop_newest_generation(self) -> None:
        """Remove the newest generation, once, and let nobody go on before it is gone."""
        if self.processes.first:
            super().drop_newest_generation()
        self.processes.wait()


def fit_together(
    processes: Processes,
    start: Callable[[], Trainer],
    *,
    out: str | Path | None = None,
    cell: str | None = None,
    job: str | None = None,
    again: bool = False,
) -> Run:
    """Train with all processes, from a run that the first one makes, or that an earlier start of this job has made.

    The first process makes data, weights and run directory; the others read what it has written there.

    Args:
        start: makes a trainer that has no run directory yet, or has one to resume; called in the first process only.
        out: where the run of the job would be.
        cell: allows a cell of the user's own to be imported.
        job: names what this process belongs to, see `recurra.processes.launched`.
        again: processes of this job were started before, so that a run that is finished is the job's, too.
    Raises: FollowedError in the other processes, when the first one could not begin.
    """
    from recurra.training.trainer import Trainer

    if processes.first:
        try:
            found = run_of_job(job, out, finished=again)
            trainer = start() if found is None else Trainer.resume(found, cell=cell, processes=processes)
            trainer.job = job
            path = trainer.prepare()
        except BaseException:
            processes.tell("")
            raise
        processes.tell(str(path.resolve()))
    else:
        said = processes.tell()
        if not said:
            raise FollowedError("the first process could not begin")
        trainer = Trainer.resume(_await(Path(said)), cell=cell, processes=processes)
        trainer.prepare()
    run = trainer.fit()
    if job is not None and processes.first:
        note_job(run.path, job + FINISHED)
    return run


def run_of_job(job: str | None, out: str | Path | None, *, finished: bool) -> Path | None:
    """Return the run that an earlier start of a job has made, the newest one; None if there is none."""
    if job is None:
        return None
    files = [_job_file(Path(out))] if out is not None else list(Path("runs").glob("*/training/job"))
    found = []
    for file in files:
        said = file.read_text(encoding="utf-8") if file.is_file() else ""
        if said == job or (finished and said == job + FINISHED):
            found.append(file)
    found = [file for file in found if not RunDirectory(file.parent.parent).is_unfinished]
    newest = max(found, key=lambda file: file.stat().st_mtime, default=None)
    return None if newest is None else newest.parent.parent


def note_job(run: Path, job: str | None) -> None:
    """Let a run say which job made it, if one did."""
    if job is not None:
        _job_file(run).write_text(job, encoding="utf-8")


def _job_file(run: Path) -> Path:
    return run / "training" / "job"


def _await(path: Path) -> Path:
    """Wait until a run directory is seen here. Raises: RunError if it is not, for the file system is not shared."""
    end = time.monotonic() + PATIENCE_S
    while not (path / "config.toml").is_file():
        if time.monotonic() > end:
            raise RunError(
                f"the first process made the run {path}, and it is not there for this one; "
                f"all machines must see the same files: choose an --out on a file system that they share"
            )
        time.sleep(0.1)
    return path
