"""What training shows while it runs: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from recurra.training.task import Scale

__all__ = ["BarReporter", "LineReporter", "Reporter", "make_reporter", "printable"]

LINE_EVERY_S = 5.0


class Reporter:
    """Shows nothing; the base of those that do. Keeps the time."""

    def begin(self, total_steps: int, done_steps: int, path: Path, scale: Scale) -> None:
        """Start the clock."""
        self.total_steps, self.first_step, self.scale = total_steps, done_steps, scale
        self.started = self.marked = time.monotonic()
        self.marked_step = done_steps

    def step(self, step: int, loss_nats: float, grad_norm: float) -> None:
        """One optimizer step is done."""

    def validating(self, done: int, total: int) -> None:
        """Part of a validation is done."""

    def epoch(self, row: dict[str, Any], sample: str) -> None:
        """An epoch is done; `row` is its line of metrics."""

    def note(self, text: str) -> None:
        """Something to know."""

    def back(self, step: int, text: str) -> None:
        """Training goes on from an earlier step; `text` says why."""
        self.first_step, self.marked_step = min(self.first_step, step), min(self.marked_step, step)
        self.note(f"went back: {text}")

    def timing(self, step: int) -> dict[str, float]:
        """Return seconds so far and tokens (or examples) per second since the last call."""
        now = time.monotonic()
        rate = (step - self.marked_step) * self.scale.per_step / max(now - self.marked, 1e-9)
        self.marked, self.marked_step = now, step
        return {"step": step, "elapsed_s": round(now - self.started, 3), f"{self.scale.unit}_per_s": round(rate, 1)}

    def describe(self, step: int, loss_nats: float, grad_norm: float) -> str:
        """One line on how training stands."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        rate = (step - self.first_step) / elapsed
        left = (self.total_steps - step) / rate if rate else math.inf
        return (
            f"step {step}/{self.total_steps}  loss {loss_nats:.3f}  {_quality(loss_nats, self.scale)}"
            f"{rate * self.scale.per_step:,.0f} {self.scale.unit}/s  gradient {grad_norm:.2f}  {_clock(left)} left"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LineReporter(Reporter):
    """Plain lines: one every few seconds and one per epoch, with a sample."""

    def begin(self, total_steps: int, done_steps: int, path: Path, scale: Scale) -> None:
        """Say where the run is."""
        super().begin(total_steps, done_steps, path, scale)
        self.printed = self.started
        size = f"{scale.per_step:,} {scale.unit}"
        self.note(f"training in {path}: {total_steps:,} steps of {size}" + _resumed(done_steps))

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)

    def step(self, step: int, loss_nats: float, grad_norm: float) -> None:
        """Print now and then."""
        now = time.monotonic()
        if now - self.printed > LINE_EVERY_S:
            self.printed = now
            self.note(self.describe(step, loss_nats, grad_norm))

    def epoch(self, row: dict[str, Any], sample: str) -> None:
        """Print the validation and the sample."""
        self.note(_epoch_line(row, self.scale))
        self.note(f"  | {_shorten(sample)}")


class BarReporter(Reporter):
    """A progress bar with loss, perplexity, tokens per second, gradient norm and time left."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn(),
            console=self.console, refresh_per_second=4, transient=True,
        )  # fmt: skip
        self.shown = 0.0
        self.task: TaskID

    def begin(self, total_steps: int, done_steps: int, path: Path, scale: Scale) -> None:
        """Show the bar."""
        super().begin(total_steps, done_steps, path, scale)
        self.note(f"training in {path}" + _resumed(done_steps))
        self.task = self.progress.add_task("training", total=total_steps, completed=done_steps, text="")

    def step(self, step: int, loss_nats: float, grad_norm: float) -> None:
        """Move the bar, a few times a second at most."""
        now = time.monotonic()
        if now - self.shown > 0.25:
            self.shown = now
            text = self.describe(step, loss_nats, grad_norm).rsplit("  ", 1)[0]
            self.progress.update(self.task, completed=step, description="training", text=text)

    def validating(self, done: int, total: int) -> None:
        """Say so."""
        self.progress.update(self.task, description=f"validating {done}/{total}")

    def epoch(self, row: dict[str, Any], sample: str) -> None:
        """Print the validation and the sample above the bar."""
        self.note(_epoch_line(row, self.scale))
        self.note(f"  | {_shorten(sample)}")

    def note(self, text: str) -> None:
        """Print above the bar."""
        self.console.print(text, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()


def make_reporter() -> Reporter:
    """Return what suits stderr: a bar on a terminal, lines elsewhere."""
    return BarReporter() if sys.stderr.isatty() else LineReporter()


def _quality(loss_nats: float, scale: Scale) -> str:
    return f"{scale.quality(loss_nats)}  " if scale.quality else ""


def _epoch_line(row: dict[str, Any], scale: Scale) -> str:
    line = f"epoch {row['epoch']}  step {row['step']}  "
    if "loss_nats" in row:
        line += f"loss {row['loss_nats']:.4f}  "
    if "valid_loss_nats" in row:
        line += f"validation {row['valid_loss_nats']:.4f}  {_quality(row['valid_loss_nats'], scale)}"
    for name, value in row.items():
        if name.startswith("valid_") and name not in ("valid_loss_nats", "valid_perplexity"):
            line += f"{name.removeprefix('valid_').replace('_', ' ')} {value:.4f}  "
    return line.rstrip()


def printable(text: str) -> str:
    """Return a text with control characters, which a terminal would obey, shown as U+FFFD; line ends and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _shorten(sample: str, width: int = 100) -> str:
    text = printable(" ".join(sample.split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _resumed(done_steps: int) -> str:
    return f", resumed at step {done_steps:,}" if done_steps else ""
