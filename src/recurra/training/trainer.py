"""The trainer: batch after batch, the state carried between them, and a run directory that survives anything."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from recurra.checkpoint import RunDirectory
from recurra.errors import ConfigError, DivergedError, RunError
from recurra.state import detach
from recurra.training.averaging import WeightAverage
from recurra.training.config import OptimizationConfig, Origin, RunConfig
from recurra.training.interruption import Interruption
from recurra.training.optimization import (
    clip_gradients,
    make_optimizer,
    make_schedule,
    per_step,
    scaled_rate,
)
from recurra.training.progress import Reporter, make_reporter
from recurra.training.run import Run, draw_report, free_path
from recurra.training.snapshot import Learning
from recurra.training.task import Task, Validation
from recurra.training.tasks import task_of

__all__ = ["Trainer"]

CHECKPOINT_EVERY_S = 30.0
REPORTS_PER_RUN = 200
NO_SUMS = {"nats": 0.0, "norm": 0.0, "batches": 0, "lr": 0.0}
"""What is added up from one line of metrics to the next: loss, gradient norm, batches; and the last learning rate."""


class Trainer:
    """Trains a model on its data: a language model on a corpus, a classifier on labelled examples, and so on.

    Each batch is one optimizer step: forward, for a stream from the carried state, back-propagation, clipping, update;
    then the state is detached and carried on. The run directory always holds what is needed to continue from a recent
    step with the same bits.

    Args:
        model: of any task in `recurra.training.TASKS`.
        data: a `Corpus` for a language model, else what that task makes.
        origin: the run whose weights the model begins with, to be kept in the settings: `Run.as_origin`.
        out: run directory to make; default ``runs/<data>-<cell>``, numbered when it exists.
        config: settings, for a language model `TrainingConfig`; or give them one by one as keywords.
        reporter: shows progress; default a progress bar on a terminal, plain lines elsewhere.
    """

    def __init__(
        self,
        model: Any,
        data: Any,
        *,
        out: str | Path | None = None,
        config: OptimizationConfig | None = None,
        recipe: str | None = None,
        origin: Origin | None = None,
        reporter: Reporter | None = None,
        **settings: Any,
    ) -> None:
        if config is not None and settings:
            raise ConfigError(f"give config or single settings, not both: {', '.join(settings)}")
        kind = task_of(model)
        self.task: Task = kind(model, data, config or kind.training_settings.of(**settings))
        self.task.check()
        self.model, self.data = model, data
        self.recipe, self.origin = recipe, origin
        self.out = out
        self.reporter = reporter or make_reporter()
        self.directory: RunDirectory | None = None
        self._interruption = Interruption()

    @classmethod
    def resume(cls, path: str | Path, *, cell: str | None = None, reporter: Reporter | None = None) -> Trainer:
        """Open a run to continue it exactly where its newest checkpoint stands; call `fit` on the result.

        Args:
            cell: repeats the name of a cell of the user's own, which allows it to be imported.
        Raises: RunError if the directory is missing or damaged beyond its older checkpoint.
        """
        run = Run.load(path, cell=cell, weights=False)
        if not run.directory.training.is_dir():
            raise RunError(f"{path} holds a model without checkpoints; resume the run that it was exported from")
        trainer = cls(
            run.model,
            run.data,
            out=path,
            config=run.config.training,
            recipe=run.config.recipe,
            origin=run.config.origin,
            reporter=reporter,
        )
        trainer.directory = run.directory
        return trainer

    @property
    def config(self) -> Any:
        """The settings of training."""
        return self.task.config

    def fit(self, epochs: int | None = None, steps: int | None = None) -> Run:
        """Train to the end and return the run.

        Args:
            epochs, steps: in place of those of the settings.
        Raises: DivergedError if the loss or the gradient is no longer finite; KeyboardInterrupt after an interruption.
            The run directory can be resumed after both.
        """
        if epochs is not None or steps is not None:
            if self.directory is not None:
                raise ConfigError("a resumed run keeps its settings; start a new run to train longer")
            changes: dict[str, Any] = {"epochs": self.config.epochs if epochs is None else epochs, "steps": steps}
            self.task.config = replace(self.config, **changes)
        self._prepare()
        with self._interruption, self.reporter:
            while not self._finished:
                self._train_epoch()
                self._finish_epoch()
        draw_report(self._run)
        run = Run.load(self._run.path, cell=self.model.config.cell)
        run.data = self.data  # which need not be read again
        self.task.finish(run)
        return run

    # -- setting out ----------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        config = self.config
        if config.threads:
            torch.set_num_threads(config.threads)
        if config.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("there is no CUDA device here; leave out --device, or take --device cpu")
        self.device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
        )
        self.model.to(self.device).train()
        self.task.device = self.device
        note = self.task.prepare(fresh=self.directory is None)
        if note is not None:
            self.reporter.note(note)
        config = self.config
        if not self.task.has_validation and (config.patience or config.schedule == "plateau"):
            raise ConfigError("patience and the plateau schedule need a validation part; give one with --valid")
        self.total_steps = config.steps or self.task.count_steps()
        self.layers = self.task.layers()
        self.optimizer = make_optimizer(self.layers, config)
        self.schedule = make_schedule(self.optimizer, config, self.total_steps)
        self.average = WeightAverage(self.model, config.average)
        self.learning = Learning(self.model, self.optimizer, self.schedule, self.average, self.device)
        self.epoch = self.batch = self.step = self.stale_epochs = 0
        self.best_loss = math.inf
        self.state: Any = None
        self.sums = dict(NO_SUMS)
        self.stopped_early = False
        self._saved_at, self._saved_step = time.monotonic(), -1
        if self.directory is None:
            self._begin()
        else:
            self._restore()
        self.reporter.begin(self.total_steps, self.step, self._run.path, self.task.scale)

    def _begin(self) -> None:
        torch.manual_seed(self.config.seed)
        default = f"runs/{self.data.name}-{self.model.config.cell.rpartition(':')[2].lower()}"
        path = Path(self.out) if self.out is not None else free_path(Path(default))
        self.directory = RunDirectory.create(path)
        config = RunConfig(
            task=self.task.name,
            data=self.data.config,
            model=self.model.config,
            training=self._resolved_config(),
            recipe=self.recipe,
            origin=self.origin,
        )
        try:
            Run.describe(self.directory, config, self.task)
            self._write_generation()
        except BaseException:
            # Without its first checkpoint it is no run: nothing is left behind.
            shutil.rmtree(path, ignore_errors=True)
            raise

    def _resolved_config(self) -> Any:
        return replace(self.config, threads=torch.get_num_threads(), device=self.device.type)

    @property
    def _run(self) -> RunDirectory:
        assert self.directory is not None
        return self.directory

    # -- one epoch ------------------------------------------------------------------------------------------------

    @property
    def _finished(self) -> bool:
        done = self.step >= self.total_steps if self.config.steps else self.epoch >= self.config.epochs
        return done or self.stopped_early

    def _train_epoch(self) -> None:
        stream = self.task.stream(self.epoch)
        previous = stream[self.batch - 1] if self.batch else None
        report_every = max(1, self.total_steps // REPORTS_PER_RUN)
        while self.batch < len(stream) and self.step < self.total_steps:
            batch = stream[self.batch]
            self.state = self.task.carry(previous, batch, self.state)
            with self.layers.frozen(self.epoch + self.batch / len(stream)):
                self._train_batch(batch)
            previous = batch
            # The last batch of an epoch is reported with its validation.
            at_end = self.batch == len(stream) or self.step == self.total_steps
            if self.step % report_every == 0 and not at_end:
                self._report()
            interrupted = self._interruption.requested
            if interrupted or time.monotonic() - self._saved_at > CHECKPOINT_EVERY_S:
                self._write_generation()
            if interrupted:
                self._say_how_to_resume()
                raise KeyboardInterrupt

    def _train_batch(self, batch: Any) -> None:
        progress = self.step / max(1, self.total_steps)
        loss, nats, state = self.task.objective(batch.to(self.device), self.state, progress)
        self.optimizer.zero_grad()
        loss.backward()
        norm = clip_gradients(self.model, self.config)
        nats_value, norm_value = nats.item(), norm.item()
        if not (math.isfinite(nats_value) and math.isfinite(norm_value)):
            self._diverged(nats_value, norm_value)
        self.sums["lr"] = self.optimizer.param_groups[0]["lr"]
        with scaled_rate(self.optimizer, self.task.rate(batch)):
            self.optimizer.step()
        if per_step(self.schedule):
            self.schedule.step()
        self.average.update(self.step)
        self.state = None if state is None else detach(state)
        self.step += 1
        self.batch += 1
        self.sums["nats"] += nats_value
        self.sums["norm"] += norm_value
        self.sums["batches"] += 1
        self.reporter.step(self.step, nats_value, norm_value)

    def _check_weights(self) -> None:
        """Weights that the last step made useless show in the loss only at the next; they are not to be kept."""
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            self._diverged(math.nan, math.nan)

    def _diverged(self, nats: float, norm: float) -> NoReturn:
        """Go back to the last checkpoint whose weights were good, and say what to change."""
        if self._saved_step == self.step:
            # The step that made the weights useless is seen only now, after a checkpoint has taken them for good.
            self._run.drop_newest_generation()
            if not math.isfinite(self.best_loss) or self.config.keep == "last":
                tensors = self._run.read_generation()[0].tensors
                part = "average." if self.config.average else "model."
                self._run.write_model({k.removeprefix(part): t for k, t in tensors.items() if k.startswith(part)})
        draw_report(self._run)
        raise DivergedError(
            f"training diverged at step {self.step + 1} of {self._run.path}: loss {nats:g}, gradient norm {norm:g}; "
            f"the last good weights are kept there. Start again with a lower --lr (it was {self.config.lr:g}) or "
            f"a smaller --clip (it was {self.config.clip:g})"
        )

    def _finish_epoch(self) -> None:
        """Validate, keep the weights if they are better, write a sample."""
        self._check_weights()
        try:
            score = self.validate()
        except KeyboardInterrupt:
            # Nothing but the progress has changed since the last batch: the validation is done again on resuming.
            self._write_generation()
            self._say_how_to_resume()
            raise
        if score is not None and not math.isfinite(score.loss_nats):
            self._diverged(score.loss_nats, math.nan)
        improved = score is None or score.loss_nats < self.best_loss
        self.epoch += 1
        self.batch = 0
        if score is not None:
            self.best_loss = min(self.best_loss, score.loss_nats)
            self.stale_epochs = 0 if improved else self.stale_epochs + 1
            if not per_step(self.schedule):
                self.schedule.step(score.loss_nats)
        try:
            sample = self._sample()
        except DivergedError:
            self._diverged(math.nan, math.nan)
        if improved and score is not None and self.config.keep == "best":
            self._run.write_model(self.average.weights)
        self._report(score, sample)
        self.stopped_early = bool(self.config.patience and self.stale_epochs >= self.config.patience)
        if self.stopped_early:
            self.reporter.note(f"stopped early: no better validation loss in {self.stale_epochs} epochs")
        self._write_generation()

    def validate(self) -> Validation | None:
        """Score the validation part by the protocol of the training, or return None where there is none."""
        with self.average.in_use():
            return self.task.validate(self._validating)

    def _validating(self, done: int, total: int) -> None:
        self.reporter.validating(done, total)
        if self._interruption.requested:
            raise KeyboardInterrupt

    # -- reports --------------------------------------------------------------------------------------------------

    def _report(self, score: Validation | None = None, sample: str | None = None) -> None:
        row: dict[str, Any] = {"step": self.step, "epoch": self.epoch}
        if batches := self.sums["batches"]:
            row["loss_nats"] = self.sums["nats"] / batches
            row["grad_norm"] = self.sums["norm"] / batches
            row["lr"] = self.sums["lr"]
        if score is not None:
            row["valid_loss_nats"] = score.loss_nats
            row |= {f"valid_{name}": value for name, value in score.metrics.items()}
        self.sums = dict(NO_SUMS)
        self._run.append_metrics(row)
        self._run.append_timing(self.reporter.timing(self.step))
        if sample is not None:
            self._run.append_sample(f"--- epoch {self.epoch}, step {self.step}\n{sample}\n\n")
            self.reporter.epoch(row, sample)

    def _sample(self) -> str:
        with self.average.in_use():
            return self.task.sample(self.epoch)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def _write_generation(self) -> None:
        self._check_weights()
        values = {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "stale_epochs": self.stale_epochs,
            "stopped_early": self.stopped_early,
            "sums": self.sums,
        }
        self._run.write_generation(self.learning.capture(self.state, values))
        # The last weights are those to use until a validation has found the best ones.
        if self.config.keep == "last" or not math.isfinite(self.best_loss):
            self._run.write_model(self.average.weights)
        self._saved_step = self.step
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        generation, notes = self._run.read_generation()
        for note in notes:
            self.reporter.note(note)
        values = generation.values
        if "batch" not in values:
            raise RunError(f"{self._run.path} was begun by an earlier recurra and cannot go on; start a new run")
        leaves = self.learning.put_back(generation, self._run)
        self.state = None if leaves is None else self.task.restore_state(leaves)
        self.epoch, self.batch, self.step = values["epoch"], values["batch"], values["step"]
        self.best_loss = math.inf if values["best_loss"] is None else values["best_loss"]
        self.stale_epochs, self.stopped_early = values["stale_epochs"], values["stopped_early"]
        self.sums = values["sums"]
        self._saved_step = self.step

    def _say_how_to_resume(self) -> None:
        draw_report(self._run)
        self.reporter.note(f"interrupted; saved. Continue with: recurra train --resume {self._run.path}")
