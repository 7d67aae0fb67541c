"""Tasks whose models answer questions: what they share in training, and what can be asked of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from recurra.decoding import Beam
from recurra.errors import ConfigError
from recurra.evaluation import Assessment
from recurra.models.modes import evaluating
from recurra.training.config import ExamplesConfig
from recurra.training.task import Objective, Progress, Task, Validation

if TYPE_CHECKING:
    from recurra.training.run import Run

__all__ = ["VALIDATION_ROWS", "AnsweringTask"]


VALIDATION_ROWS = 256
"""What is held back is read in batches of so many rows."""


class AnsweringTask(Task):
    """A task whose model answers questions: those with a known answer measure it, and the others are answered."""

    data: Any
    config: ExamplesConfig
    writes: ClassVar[bool] = False
    """Whether answers are texts, which a beam can search for."""

    def stream(self, epoch: int) -> Sequence[Any]:
        """Return the batches of an epoch."""
        stream: Sequence[Any] = self.data.stream(batch=self.config.batch, seed=self.config.seed, epoch=epoch)
        return stream

    def count_steps(self) -> int:
        """Return how many batches there are in all epochs, which have as many each."""
        return int(self.config.epochs) * len(self.stream(0))

    def objective(self, batch: Any, state: Any, progress: float) -> Objective:
        """Read a batch; what a model reads of its own predictions grows with the share of steps that are done."""
        config = self.config
        loss = self.model.loss(
            batch, sampling=config.sampling * progress, backprop=config.policy, backend=config.backend
        )
        mean = loss.nats / batch.of_all(loss.count).clamp(min=1)
        if batch.share is not None and not batch.share.counts:
            mean = mean * 0
        return Objective(mean, mean.detach(), None)

    def restore_state(self, leaves: Mapping[str, Tensor]) -> None:
        """There is none."""

    @property
    def has_validation(self) -> bool:
        """Whether there is something to validate with."""
        return len(self.data.valid) > 0

    @abstractmethod
    def validation_batches(self) -> Sequence[Any]:
        """Return what is held back, each of it once."""

    def validate(self, progress: Progress) -> Validation | None:
        """Return the loss on what is held back, and the accuracy where right and wrong can be told."""
        if not self.has_validation:
            return None
        nats, count, correct, counted = 0.0, 0, 0, False
        batches = self.validation_batches()
        with torch.no_grad(), evaluating(self.model):
            for k, batch in enumerate(self.processes.part(batches)):
                if batch.share is not None and not batch.share.counts:
                    continue
                loss = self.model.loss(batch.to(self.device))
                nats, count = nats + float(loss.nats), count + int(loss.count)
                if loss.correct is not None:
                    correct, counted = correct + int(loss.correct), True
                progress(k + 1, len(batches))
        nats, *whole = self.processes.add(nats, count, correct, counted)
        count, correct, counted = max(int(whole[0]), 1), int(whole[1]), bool(whole[2])
        return Validation(nats / count, {"accuracy": correct / count} if counted else {})

    # -- questions ------------------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def read(cls, run: Run, source: str, *, answered: bool, skip_bad: bool, progress: Progress | None = None) -> Any:
        """Read questions as the run has read its own.

        Args:
            source: a file, a folder, or ``-`` for standard input.
            answered: each must have its answer.
            skip_bad: leave out what cannot be used, and say so in its notes, instead of refusing it.
        """

    @classmethod
    @abstractmethod
    def assess(cls, run: Run, questions: Any, progress: Progress | None = None, beam: Beam | None = None) -> Assessment:
        """Measure the model on questions with answers, beside the simplest ways to answer them.

        Args:
            beam: how to search for texts; by default the most likely token is taken each time.
        """

    @classmethod
    @abstractmethod
    def answer(
        cls, run: Run, questions: Any, progress: Progress | None = None, beam: Beam | None = None
    ) -> list[dict[str, Any]]:
        """Return a row of named values for each answer, as JSON lines or a table hold them; arguments as `assess`."""

    @classmethod
    def check_beam(cls, run: Run, beam: Beam | None) -> None:
        """Raise ConfigError for a beam where answers are no texts, or wider than the vocabulary."""
        if beam is None:
            return
        if not cls.writes:
            raise ConfigError(f"a beam searches for texts, and a run of --task {cls.name} writes none; leave it out")
        beam.check_vocabulary(len(run.model.target))

    @classmethod
    @abstractmethod
    def draw(cls, run: Run, questions: Any, assessment: Assessment, name: str) -> list[Path]:
        """Draw what an assessment has to show into the report of the run, under a name; return the files."""
