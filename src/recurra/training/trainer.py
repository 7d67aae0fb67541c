"""The trainer: batch after batch, the state carried between them, and a run directory that survives anything."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from recurra.checkpoint import Generation, RunDirectory, understood
from recurra.environment import is_one_of_several
from recurra.errors import ConfigError, DivergedError, RunError
from recurra.memory import naming_shortage
from recurra.processes import ALONE, Processes
from recurra.share import sharing
from recurra.state import detach
from recurra.training import together
from recurra.training.averaging import WeightAverage
from recurra.training.config import OptimizationConfig, Origin, RunConfig
from recurra.training.interruption import Interruption
from recurra.training.needs import advise
from recurra.training.optimization import clip_gradients, make_optimizer, make_schedule, per_step, scaled_rate
from recurra.training.progress import Reporter, make_reporter
from recurra.training.recovery import GOOD, PASSING, Moment, Recovery, Setback, describe_setback
from recurra.training.run import Run, draw_report, free_path
from recurra.training.snapshot import Learning
from recurra.training.tally import NO_SUMS, as_row, check_counts, counts_of, restore_counts
from recurra.training.task import Task, Validation
from recurra.training.tasks import task_of

__all__ = ["Trainer"]

CHECKPOINT_EVERY_S = 30.0
REPORTS_PER_RUN = 200


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
        processes: that share each batch, of which the first one makes the run and shows progress; see `fit_together`.
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
        processes: Processes = ALONE,
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
        self.processes = self.task.processes = processes
        self.reporter = reporter or (make_reporter() if processes.first else Reporter())
        self.directory: RunDirectory | None = None
        self._interruption = Interruption(at_any_end=is_one_of_several())
        self._asked = (False, False)
        self.job: str | None = None
        self._is_prepared = False

    @classmethod
    def resume(
        cls,
        path: str | Path,
        *,
        cell: str | None = None,
        reporter: Reporter | None = None,
        processes: Processes = ALONE,
    ) -> Trainer:
        """Open a run to continue it exactly where its newest checkpoint stands; call `fit` on the result.

        Args:
            cell: repeats the name of a cell of the user's own, which allows it to be imported.
            processes: as for a new run; another number than before is allowed, too.
        Raises: RunError if the directory is missing or damaged beyond all its checkpoints.
        """
        run = Run.load(path, cell=cell, weights=False)
        if not run.directory.training.is_dir():
            raise RunError(f"{path} holds a model without checkpoints; resume the run that it was exported from")
        run.directory.verify()
        trainer = cls(
            run.model,
            run.data,
            out=path,
            config=run.config.training,
            recipe=run.config.recipe,
            origin=run.config.origin,
            reporter=reporter,
            processes=processes,
        )
        trainer.directory = together.SharedRun.of(run.directory, processes)
        return trainer

    @property
    def config(self) -> Any:
        """The settings of training."""
        return self.task.config

    def fit(self, epochs: int | None = None, steps: int | None = None) -> Run:
        """Train to the end and return the run.

        Args:
            epochs, steps: in place of those of the settings.
        Raises: DivergedError if training goes wrong more often than `retries` allows; KeyboardInterrupt after an
            interruption; OutOfMemoryError that says what to lower. The run directory can be resumed after all of them.
        """
        if epochs is not None or steps is not None:
            if self.directory is not None:
                raise ConfigError("a resumed run keeps its settings; start a new run to train longer")
            changes: dict[str, Any] = {"epochs": self.config.epochs if epochs is None else epochs, "steps": steps}
            self.task.config = replace(self.config, **changes)
        with naming_shortage(lambda: advise(self)):
            if not self._is_prepared:
                self.prepare()
            together.check_alike(self.model, self.step, self.processes)
            with self._interruption, self.reporter:
                while not self._finished:
                    try:
                        self._train_epoch()
                        self._finish_epoch()
                    except Setback as setback:
                        self._go_back(setback)
        draw_report(self._run)
        if self.processes.first:
            run = self._finished_run()
            self.task.finish(run)
        self.processes.wait()
        return run if self.processes.first else self._finished_run()

    def _finished_run(self) -> Run:
        run = Run.load(self._run.path, cell=self.model.config.cell)
        run.data = self.data  # which need not be read again
        return run

    # -- setting out ----------------------------------------------------------------------------------------------

    def prepare(self) -> Path:
        """Make the run directory with its first checkpoint, or go back to where the run stands; return where it is."""
        config, processes = self.config, self.processes
        together.check_rows(config.batch, processes)
        together.choose_threads(config.threads, processes)
        self.device = together.choose_device(config.device, processes)
        self.model.to(self.device).train()
        self.task.device = self.device
        if note := self.task.prepare(fresh=self.directory is None):
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
        self.recovery = Recovery(config.retries, self.total_steps)
        self.epoch = self.batch = self.step = self.stale_epochs = 0
        self.best_loss = math.inf
        self.state: Any = None
        self.sums = dict(NO_SUMS)
        self.stopped_early = False
        self._saved_at, self._saved_step = time.monotonic(), -1
        self._is_prepared = True
        if self.directory is None:
            self._begin()
        else:
            with understood(self._run.path):
                self._restore()
        self.reporter.begin(self.total_steps, self.step, self._run.path, self.task.scale)
        return self._run.path

    def _begin(self) -> None:
        torch.manual_seed(self.config.seed)
        default = f"runs/{self.data.name}-{self.model.config.cell.rpartition(':')[2].lower()}"
        path = Path(self.out) if self.out is not None else free_path(Path(default))
        config = RunConfig(
            task=self.task.name,
            data=self.data.config,
            model=self.model.config,
            training=replace(self.config, threads=torch.get_num_threads(), device=self.device.type),
            recipe=self.recipe,
            origin=self.origin,
        )
        with RunDirectory.making(path) as directory:
            self.directory = together.SharedRun.of(directory, self.processes)
            if not self._weights_are_numbers:
                raise Setback("a weight is not a number", 0)
            Run.describe(self.directory, config, self.task)
            together.note_job(path, self.job)
            # without a carried state, which the others would have to give
            self._write_generation(self.recovery.moment(0))

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
        stream = self.processes.part(self.task.stream(self.epoch))
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
            due = self.recovery.is_due(self.step) and not at_end
            interrupted, in_time = self._asked if self.processes.several else self._asks()
            if (interrupted or due or in_time) and self._weights_are_numbers:
                self._write_generation(self.recovery.moment(self.step) if due else PASSING)
            if interrupted:
                self._say_how_to_resume()
                raise KeyboardInterrupt

    def _asks(self) -> tuple[bool, bool]:
        """Return whether to stop, and whether it is time for a checkpoint, as far as this process is asked."""
        due = self.processes.first and time.monotonic() - self._saved_at > CHECKPOINT_EVERY_S
        return self._interruption.requested, due

    def _train_batch(self, batch: Any) -> None:
        progress = self.step / max(1, self.total_steps)
        with sharing(batch.share):
            loss, nats, state = self.task.objective(batch.to(self.device), self.state, progress)
            self.optimizer.zero_grad()
            loss.backward()
        nats_value, *asked = together.add_up(self.model, self.processes, nats, *self._asks())
        self._asked = bool(asked[0]), bool(asked[1])
        norm_value = clip_gradients(self.model, self.config).item()
        self.recovery.check(self.step + 1, nats_value, norm_value)
        self.sums["lr"] = self.optimizer.param_groups[0]["lr"] * self.recovery.factor
        with scaled_rate(self.optimizer, self.task.rate(batch) * self.recovery.factor):
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

    @property
    def _weights_are_numbers(self) -> bool:
        """Weights that the last step made useless show in the loss only at the next; they are not to be kept."""
        return all(bool(torch.isfinite(p).all()) for p in self.model.parameters())

    def _go_back(self, setback: Setback) -> None:
        """Return to the last good moment, to go on at a lower rate; or stop, where that was done often enough."""
        with self.processes.first_before_others():
            if not self.recovery.may_go_back():
                given_up = {"fresh": self._saved_step == self.step, "uses_last": self._uses_last}
                self.recovery.give_up(setback, self._run, self.config, self.epoch, **given_up)
            generation = self.recovery.last_good(setback, self._run)
        self._put_back(generation, going_back=True)
        self.recovery.lower()
        row = self.recovery.row(setback, self.step)
        self._run.append_metrics({"step": self.step, "epoch": self.epoch, "setback": row})
        self._write_generation(GOOD)
        self.reporter.back(self.step, describe_setback(row))

    def _finish_epoch(self) -> None:
        """Validate, keep the weights if they are better, write a sample."""
        if not self._weights_are_numbers:
            raise Setback("a weight is not a number", self.step)
        try:
            score = self.validate()
        except KeyboardInterrupt:
            # Nothing but the progress has changed since the last batch: the validation is done again on resuming.
            self._write_generation()
            self._say_how_to_resume()
            raise
        if score is not None and not math.isfinite(score.loss_nats):
            raise Setback(f"validation loss is {score.loss_nats:g}", self.step, score.loss_nats)
        first, improved = math.isinf(self.best_loss), score is None or score.loss_nats < self.best_loss
        self.epoch += 1
        self.batch = 0
        if score is not None:
            self.best_loss = min(self.best_loss, score.loss_nats)
            self.stale_epochs = 0 if improved else self.stale_epochs + 1
            if not per_step(self.schedule):
                self.schedule.step(score.loss_nats)
        try:
            sample = self._sample()
        except DivergedError as error:
            raise Setback(str(error), self.step) from error
        if improved and score is not None and self.config.keep == "best":
            self._run.write_model(self.average.weights, spare=True)
        self._report(score, sample)
        self.stopped_early = bool(self.config.patience and self.stale_epochs >= self.config.patience)
        if self.stopped_early:
            self.reporter.note(f"stopped early: no better validation loss in {self.stale_epochs} epochs")
        better = {"better": improved and score is not None, "first": first}
        self._write_generation(self.recovery.moment(self.step, epoch_ended=True, **better))

    def validate(self) -> Validation | None:
        """Score the validation part by the protocol of the training, or return None where there is none."""
        with self.average.in_use():
            return self.task.validate(self._validating)

    def _validating(self, done: int, total: int) -> None:
        self.reporter.validating(done, total)
        if self._interruption.requested and not self.processes.several:  # which stop together, at the next step
            raise KeyboardInterrupt

    # -- reports --------------------------------------------------------------------------------------------------

    def _report(self, score: Validation | None = None, sample: str | None = None) -> None:
        row = {"step": self.step, "epoch": self.epoch, **as_row(self.sums, score)}
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

    def _write_generation(self, moment: Moment = PASSING) -> None:
        values = {**counts_of(self), **self.recovery.as_values(moment, self.step)}
        if self._saved_step >= 0:
            together.check_alike(self.model, self.step, self.processes)
        self._run.write_generation(self.learning.capture(self.processes.all_rows(self.state), values))
        if self._uses_last:
            self._run.write_model(self.average.weights)
        self._saved_step = self.step
        self._saved_at = time.monotonic()

    @property
    def _uses_last(self) -> bool:
        """The last weights are those to use until a validation has found the best ones."""
        return self.config.keep == "last" or not math.isfinite(self.best_loss)

    def _restore(self) -> None:
        generation, notes = self._run.read_generation()
        for note in notes:
            self.reporter.note(note)
        if "batch" not in generation.values:
            raise RunError(f"{self._run.path} was begun by an earlier recurra and cannot go on; start a new run")
        check_counts(generation.values, self.total_steps)
        self._put_back(generation)
        # They are written after the checkpoint that they are of, and may be missing.
        if self._uses_last:
            self._run.write_model(self.average.weights)
        elif mended := self._run.mend_model(self.average.weights):
            self.reporter.note(mended)

    def _put_back(self, generation: Generation, *, going_back: bool = False) -> None:
        values = generation.values
        leaves = self.learning.put_back(generation, self._run)
        self.state = None if leaves is None else self.processes.own_rows(self.task.restore_state(leaves))
        restore_counts(self, values)
        self.recovery.restore(values, going_back=going_back)
        self._saved_step = self.step

    def _say_how_to_resume(self) -> None:
        draw_report(self._run)
        self.reporter.note(f"interrupted; saved. Continue with: recurra train --resume {self._run.path}")
