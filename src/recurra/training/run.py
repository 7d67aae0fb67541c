"""A run: what its directory says, as objects."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from recurra.checkpoint import RunDirectory, open_model
from recurra.config import as_mapping
from recurra.data import Tokenizer
from recurra.decoding import Beam
from recurra.engine.quantised import dequantise_all, split, weights_of
from recurra.errors import ConfigError, DataError, RunError
from recurra.evaluation import Assessment
from recurra.figures import plot_curves, verdict
from recurra.layers import Bidirectional, Stack, WindowAttention
from recurra.models import LanguageModel, QuantisedLanguageModel
from recurra.training.answering import AnsweringTask
from recurra.training.config import Origin, RunConfig
from recurra.training.task import Progress, Task
from recurra.training.tasks import TASKS, config_from_mapping

__all__ = ["Run", "check_fits", "draw_report", "free_path"]


class Run:
    """A trained model with all that it was made from.

    Args:
        directory: where it lives.
        config: its settings.
        model: in evaluation mode, with the weights to use.
        stored: what those are stored as: float32, bf16 or int8.
    """

    def __init__(self, directory: RunDirectory, config: RunConfig, model: Any, stored: str = "float32") -> None:
        self.directory = directory
        self.config = config
        self.model = model
        self.stored = stored

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        cell: str | None = None,
        trust: bool = False,
        weights: bool = True,
        small: bool = False,
    ) -> Run:
        """Read a run directory, or a folder in the layout of Hugging Face.

        Args:
            cell: repeats the name of a cell of the user's own; `trust` allows any. Without either such a cell is not
                imported: a run directory never executes code.
            weights: whether to load the weights to use.
            small: let a language model whose weights are bf16 or int8 keep them so; by default they become float32.
        Raises: RunError if the directory is missing, damaged, or does not fit together.
        """
        directory = open_model(path)
        directory.verify_settings()
        try:
            config = config_from_mapping(directory.read_config(), str(directory.config_file))
        except ConfigError as error:
            raise RunError(str(error)) from error
        name = config.model.cell
        if ":" in name and not trust and cell != name:
            raise RunError(f"{path} uses the cell {name}, which is code; allow it with --cell {name} or --trust")
        model: Any = TASKS[config.task].load_model(directory, config)
        if not weights:
            return cls(directory, config, model.eval())
        tensors = directory.read_model()
        try:
            plain, quantised = split(tensors)
        except ConfigError as error:
            raise RunError(f"{directory.model_file} is damaged: {error}") from None
        check_fits(model, plain | {name: matrix.values for name, matrix in quantised.items()}, directory)
        if small and quantised and isinstance(model, LanguageModel):
            return cls(directory, config, QuantisedLanguageModel(model, tensors), weights_of(tensors))
        model.load_state_dict(dequantise_all(tensors))
        return cls(directory, config, model.eval(), weights_of(tensors))

    @staticmethod
    def describe(directory: RunDirectory, config: RunConfig, task: Task) -> None:
        """Write what a run is made from: settings, vocabularies, data."""
        directory.write_config(as_mapping(config))
        task.describe(directory)
        directory.write_manifest()

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary of a language model."""
        vocabulary: Tokenizer = self.model.vocabulary
        return vocabulary

    def as_origin(self) -> Origin:
        """Return what another run keeps of this one, whose weights it begins with."""
        return Origin(run=str(self.path), weights=self.directory.model_digest, vocabulary=len(self.tokenizer))

    def check_trainable(self) -> None:
        """Raise RunError if the weights are not those of training."""
        if self.stored != "float32":
            raise RunError(
                f"{self.path} holds weights in {self.stored}, which are for inference; "
                f"train the run that it was made from"
            )

    @property
    def has_data(self) -> bool:
        """Whether what it was trained on is there: a model that was exported comes without."""
        return self.directory.tokens.is_dir() or self.directory.examples.is_dir()

    @cached_property
    def data(self) -> Any:
        """What it was trained and validated on: of a language model the corpus, its tokens memory-mapped."""
        if not self.has_data:
            raise RunError(
                f"{self.path} comes without the data that its model was trained on, and this needs them; "
                f"name other data to read, or use the run that it was made from"
            )
        self.directory.verify_data()
        return TASKS[self.config.task].load_data(self.directory)

    def read(
        self, source: str, *, answered: bool = True, skip_bad: bool = False, progress: Progress | None = None
    ) -> Any:
        """Read questions for the model of a task with answers, as the run has read its own data.

        Args:
            source: a file, a folder, or ``-`` for standard input.
            answered: each must have its answer.
            skip_bad: leave out what cannot be used, instead of refusing it.
        Raises: DataError for a source that cannot be used; ConfigError for a run of a language model.
        """
        return self.answering_task.read(self, source, answered=answered, skip_bad=skip_bad, progress=progress)

    def assess(
        self,
        questions: Any = None,
        *,
        name: str = "valid",
        beam: Beam | None = None,
        progress: Progress | None = None,
    ) -> Assessment:
        """Measure the model on questions beside the simplest ways to answer them, and draw what that shows.

        Args:
            questions: from `read`; default a part of the run's own data.
            name: of the pictures in the report, and of that part: train, valid, or of series test.
            beam: how to search for texts, of a model that writes them.
        Raises: DataError for an empty part; ConfigError for a run of a language model, which
            `recurra.evaluation.evaluate` measures on tokens, or a beam where no texts are written.
        """
        task = self.answering_task
        task.check_beam(self, beam)
        if questions is None:
            questions = getattr(self.data, name, ())
        if not len(questions):
            raise DataError(f"the {name} part of {self.path} is empty; give something else to measure it on")
        assessment = task.assess(self, questions, progress, beam)
        task.draw(self, questions, assessment, name)
        return assessment

    @property
    def answering_task(self) -> type[AnsweringTask]:
        """The task, if its model answers questions. Raises: ConfigError for a language model."""
        task = TASKS[self.config.task]
        if not issubclass(task, AnsweringTask):
            raise ConfigError(f"{self.path} is a language model, which continues a text; use recurra generate")
        return task

    @property
    def cells(self) -> list[nn.Module]:
        """The cells of the model, from the input up; of two directions the forward one first, attention last."""
        parts: list[Any] = [part for part in self.model.modules() if isinstance(part, Stack | Bidirectional)]
        cells = [cell for part in parts for cell in part.cells]
        return cells + [part for part in self.model.modules() if isinstance(part, WindowAttention)]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return self.directory.read_metrics()

    @property
    def verdict(self) -> str:
        """What the curves say, in a sentence."""
        return verdict(self.metrics)


def draw_report(directory: RunDirectory) -> None:
    """Draw the curves of a run into its report."""
    rows = directory.read_metrics()
    if rows:
        plot_curves(rows, directory.report / "curves.png", title=directory.path.name)


def free_path(path: Path) -> Path:
    """Return the path, or with the first number behind it that is free."""
    number, candidate = 2, path
    while not RunDirectory(candidate).is_free:
        candidate = path.with_name(f"{path.name}-{number}")
        number += 1
    return candidate


def check_fits(model: nn.Module, weights: Mapping[str, Tensor], directory: RunDirectory) -> None:
    """Raise RunError unless the weights are those of the model that the settings describe."""
    expected = model.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        have, want = weights.get(name), expected.get(name)
        if have is None or want is None or have.shape != want.shape:
            found = "nothing" if have is None else tuple(have.shape)
            wanted = "nothing" if want is None else tuple(want.shape)
            raise RunError(
                f"the weights in {directory.path} do not fit its config.toml: "
                f"'{name}' is {found} where the settings ask for {wanted}"
            )
