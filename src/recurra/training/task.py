"""The seam between the trainer and what is learned: a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from recurra.processes import ALONE, Processes
from recurra.training.layers import Layers

if TYPE_CHECKING:
    from recurra.checkpoint import RunDirectory
    from recurra.training.config import RunConfig
    from recurra.training.run import Run

__all__ = ["Objective", "Progress", "Scale", "Task", "Validation"]

Progress = Callable[[int, int], None]
"""Told (done, total)."""


class Objective(NamedTuple):
    """What a batch gives.

    Args:
        loss: what is minimised, with a graph.
        nats: the mean of what is reported, such as nats per predicted token.
        state: to be carried to the next batch; None where each starts afresh.
    """

    loss: Tensor
    nats: Tensor
    state: Any


class Validation(NamedTuple):
    """How well a model does on what it was not trained on.

    Args:
        loss_nats: the lower, the better; weights are chosen by it.
        metrics: what else is reported, by name; None for numbers beyond all bounds.
    """

    loss_nats: float
    metrics: Mapping[str, float | None]


class Scale(NamedTuple):
    """How progress is told: of what there are how many in a batch, and what a loss means in the field's words."""

    unit: str
    per_step: int
    quality: Callable[[float], str] | None = None


class Task(ABC):
    """A model, the data that it learns from, and how the one is trained on the other.

    Args:
        model: to be trained.
        data: what `make_data` makes; has a `name`, its settings as `config`, and `notes`.
        config: settings of training.
    """

    name: ClassVar[str]
    data_settings: ClassVar[Any]
    model_settings: ClassVar[Any]
    training_settings: ClassVar[Any]
    model_class: ClassVar[Any]

    def __init__(self, model: Any, data: Any, config: Any) -> None:
        self.model = model
        self.data = data
        self.config = config
        self.device = torch.device("cpu")
        self.processes: Processes = ALONE

    # -- from settings, and from a run directory ------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def default_config(cls) -> RunConfig:
        """Return the settings of a run for which nothing is asked."""

    @classmethod
    @abstractmethod
    def make_data(cls, config: RunConfig, progress: Progress | None = None) -> Any:
        """Read what the settings describe."""

    @classmethod
    @abstractmethod
    def make_model(cls, config: RunConfig, data: Any) -> nn.Module:
        """Build the model that the settings describe, for these data."""

    @abstractmethod
    def describe(self, directory: RunDirectory) -> None:
        """Write what the model and the data need to be made again."""

    @classmethod
    @abstractmethod
    def load_model(cls, directory: RunDirectory, config: RunConfig) -> nn.Module:
        """Build the model of a run, without its weights."""

    @classmethod
    @abstractmethod
    def load_data(cls, directory: RunDirectory) -> Any:
        """Open the data of a run."""

    @classmethod
    @abstractmethod
    def facts(cls, run: Run) -> dict[str, Any]:
        """Return what `recurra info` tells of a run's data and of what its model reads and says."""

    # -- training -------------------------------------------------------------------------------------------------

    @abstractmethod
    def check(self) -> None:
        """Raise ConfigError if model and data do not belong together."""

    @abstractmethod
    def prepare(self, fresh: bool) -> str | None:
        """Check that the model can be trained as its settings say, and fill in settings that depend on the machine.

        Args:
            fresh: the run begins, so that what a model takes from its data before the first step is taken now.
        Returns: a line worth knowing, or None.
        """

    def finish(self, run: Run) -> None:
        """Do what is done once, after the last step, with the weights to use. By default nothing."""
        return

    @property
    @abstractmethod
    def has_validation(self) -> bool:
        """Whether something is held back for validation."""

    @property
    @abstractmethod
    def scale(self) -> Scale:
        """How progress is told."""

    @abstractmethod
    def stream(self, epoch: int) -> Sequence[Any]:
        """Return the batches of an epoch, each by number: the same for the same seed and epoch."""

    @abstractmethod
    def count_steps(self) -> int:
        """Return how many batches there are in all epochs."""

    @abstractmethod
    def objective(self, batch: Any, state: Any, progress: float) -> Objective:
        """Read a batch, given the state before it and the part of all steps that is done.

        Where several processes read a batch together, each gives its part of loss and nats: they add up to the whole.
        """

    def carry(self, previous: Any, batch: Any, state: Any) -> Any:
        """Return the state that a batch starts from, given the one after the previous batch; None is afresh."""
        return None

    def restore_state(self, leaves: Mapping[str, Tensor]) -> Any:
        """Return the carried state from its leaves by path."""
        return None

    def layers(self) -> Layers:
        """Return the layers of the model, and how each is trained; by default all as one."""
        return Layers([list(self.model.parameters())])

    def rate(self, batch: Any) -> float:
        """Return the factor of the learning rate at a batch."""
        return 1.0

    @abstractmethod
    def validate(self, progress: Progress) -> Validation | None:
        """Score what is held back, or return None where there is nothing."""

    @abstractmethod
    def sample(self, number: int) -> str:
        """Show what the model makes at the end of epoch `number`."""
