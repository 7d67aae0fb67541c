"""Tasks on examples: a label, labels, or a text for each input, which all start afresh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recurra.checkpoint import RunDirectory, named_failures
from recurra.data.examples import (
    Dataset,
    DatasetConfig,
    ExampleBatch,
    Examples,
    Labels,
    StepLabels,
    TextInput,
    load_formats,
    read_examples,
    save_formats,
)
from recurra.decoding import Beam
from recurra.errors import ConfigError
from recurra.evaluation import Assessment, assess
from recurra.models import (
    Captioner,
    CaptionerConfig,
    Classified,
    ClassifierConfig,
    EncoderDecoder,
    EncoderDecoderConfig,
    SequenceClassifier,
    SequenceTagger,
    Tagged,
    TaggerConfig,
)
from recurra.training.answering import VALIDATION_ROWS, AnsweringTask
from recurra.training.config import ExamplesConfig, RunConfig
from recurra.training.drawing import draw_assessment
from recurra.training.task import Progress, Scale

if TYPE_CHECKING:
    from recurra.training.run import Run

__all__ = ["CaptionTask", "ClassifyTask", "ExamplesTask", "TagTask", "TranslateTask"]

LONGEST_SHOWN = 60


class ExamplesTask(AnsweringTask):
    """Batches of examples of like length, in another order in every epoch; nothing is carried between them."""

    data_settings = DatasetConfig
    training_settings = ExamplesConfig

    data: Dataset
    config: ExamplesConfig

    @classmethod
    def default_config(cls) -> RunConfig:
        """Return the settings of a run for which nothing is asked."""
        return RunConfig(
            task=cls.name,
            data=DatasetConfig(task=cls.name, source=""),
            model=cls.model_settings(),
            training=ExamplesConfig(),
        )

    @classmethod
    def make_data(cls, config: RunConfig, progress: Progress | None = None) -> Dataset:
        """Read, check and split the examples."""
        return Dataset.build(config.data, progress=progress)

    @classmethod
    def make_model(cls, config: RunConfig, data: Dataset) -> Any:
        """Build the model for the inputs and targets of a data set."""
        return cls.model_class(data.input, data.target, config.model)

    def describe(self, directory: RunDirectory) -> None:
        """Write how inputs and targets become numbers, and the examples."""
        with named_failures(directory.path):
            save_formats(directory.path, self.data.input, self.data.target)
        self.data.save(directory.examples)

    @classmethod
    def load_model(cls, directory: RunDirectory, config: RunConfig) -> Any:
        """Build the model of a run."""
        return cls.model_class(*load_formats(directory.path), config.model)

    @classmethod
    def load_data(cls, directory: RunDirectory) -> Dataset:
        """Read the examples of a run."""
        return Dataset.load(directory.examples)

    @classmethod
    def facts(cls, run: Run) -> dict[str, Any]:
        """What is read, what is said, and how many examples there are."""
        model = run.model
        found = {"reads": model.input.kind, "says": model.target.kind, "target_size": len(model.target)}
        if isinstance(model.input, TextInput):
            found |= {"vocabulary": len(model.input.tokenizer), "tokenizer": model.input.tokenizer.kind}
        data = run.data if run.has_data else None
        parts = {} if data is None else {"train_examples": len(data.train), "valid_examples": len(data.valid)}
        return {**found, "data": run.config.data.source, **parts}

    def check(self) -> None:
        """Raise ConfigError if the model reads or says something else than the examples hold."""
        model, data = self.model, self.data
        if any(_format(a) != _format(b) for a, b in ((model.input, data.input), (model.target, data.target))):
            raise ConfigError("the model was built for other examples; build it with data.input and data.target")
        if self.config.sampling and not isinstance(model, EncoderDecoder):
            raise ConfigError(
                f"'sampling' is for models that write texts; a {type(model).__name__} reads none of its own"
            )

    def prepare(self, fresh: bool) -> str | None:
        """Let the model see its inputs once before the first step, for the scales of what it reads."""
        if fresh:
            self.model.fit_input([x for x, _ in self.data.encoded["train"]])
        return None

    @property
    def scale(self) -> Scale:
        """Examples."""
        return Scale("examples", min(self.config.batch, len(self.data.train)))

    def validation_batches(self) -> Sequence[ExampleBatch]:
        """Return the validation examples; of texts, the tokens are counted, given those before."""
        return self.data.stream(batch=VALIDATION_ROWS, shuffle=False, part="valid")

    def sample(self, number: int) -> str:
        """Show what is said about one of the validation examples, and the truth where that differs."""
        examples = self.data.valid if self.has_validation else self.data.train
        chosen = number % len(examples)
        (prediction,) = self.model.predict([examples.inputs[chosen]])
        said, truth = prediction.said, examples.targets[chosen] if examples.targets else None
        read = examples.inputs[chosen]
        between = "" if isinstance(read, str) else " "
        wanted = "" if truth == said else f"  (wanted: {_shown(truth, between)})"
        shown = _shown(read) if isinstance(read, str | list) else examples.places[chosen]
        return f"{shown} -> {_shown(said, between)}{wanted}"

    # -- questions ------------------------------------------------------------------------------------------------

    @classmethod
    def read(
        cls, run: Run, source: str, *, answered: bool, skip_bad: bool, progress: Progress | None = None
    ) -> Examples:
        """Read examples as the run has read its own; labels that training never had are named."""
        config, model = replace(run.config.data, skip_bad=skip_bad), run.model
        examples = read_examples(config, source=source, labelled=answered, input=model.input, progress=progress)
        if not answered or not isinstance(model.target, Labels) or not (unseen := _unseen(model.target, examples)):
            return examples
        line = f"labels never seen in training count as wrong: {unseen}"
        return replace(examples, notes=[*examples.notes, line])

    @classmethod
    def assess(
        cls, run: Run, questions: Examples, progress: Progress | None = None, beam: Beam | None = None
    ) -> Assessment:
        """Measure the model beside baselines that learn from the training part."""
        return assess(run.model, questions, train=run.data.train, progress=progress, beam=beam)

    @classmethod
    def answer(
        cls, run: Run, questions: Examples, progress: Progress | None = None, beam: Beam | None = None
    ) -> list[dict[str, Any]]:
        """Return a row for each example: what was read, or where it came from, and what the model says of it.

        Of several texts for each, there is a row for each, with its rank.
        """
        search = {} if beam is None else {"beam": beam}
        predictions = run.model.predict(questions.inputs, progress=progress, **search)
        rows = []
        for raw, place, prediction in zip(questions.inputs, questions.places, predictions, strict=True):
            read = {"input": raw} if isinstance(raw, str | list) else {"input": place}
            if beam is None or beam.best == 1:
                rows.append({**read, **_said(prediction)})
                continue
            for rank, said in enumerate([prediction, *prediction.others], start=1):
                rows.append({**read, "rank": rank, **_said(said)})
        return rows

    @classmethod
    def draw(cls, run: Run, questions: Examples, assessment: Assessment, name: str) -> list[Path]:
        """Draw the confusion matrix, what was looked at while writing, or pictures with their texts."""
        return draw_assessment(run.model, questions, assessment, run.directory.report, name)


class ClassifyTask(ExamplesTask):
    """Many to one: a label for a whole input."""

    name = "classify"
    model_class = SequenceClassifier
    model_settings = ClassifierConfig


class TagTask(ExamplesTask):
    """Many to many, aligned: a label for each step."""

    name = "tag"
    model_class = SequenceTagger
    model_settings = TaggerConfig


class TranslateTask(ExamplesTask):
    """Many to many, not aligned: a text for a text."""

    name = "translate"
    writes = True
    model_class = EncoderDecoder
    model_settings = EncoderDecoderConfig


class CaptionTask(ExamplesTask):
    """One to many: a text for a picture."""

    name = "caption"
    writes = True
    model_class = Captioner
    model_settings = CaptionerConfig


def _format(each: Any) -> tuple[Any, ...]:
    """Return what an input or a target is, its vocabulary included."""
    tokenizer = getattr(each, "tokenizer", None)
    return each.as_mapping(), tokenizer and tokenizer.digest


def _unseen(labels: Labels, examples: Examples) -> str:
    """Name the labels that a model does not know, the most frequent first."""
    single = not isinstance(labels, StepLabels)
    counts = Counter(
        label for target in examples.targets or () for label in ([target] if single else target) if label not in labels
    )
    more = f" and {len(counts) - 5:,} others" if len(counts) > 5 else ""
    return ", ".join(f"'{label}' {count:,}" for label, count in counts.most_common(5)) + more


def _said(prediction: Any) -> dict[str, Any]:
    """Return what is said, and how sure the model is of it."""
    if isinstance(prediction, Classified):
        return {"label": prediction.label, "probability": round(float(prediction.probabilities.max()), 6)}
    if isinstance(prediction, Tagged):
        return {"labels": prediction.labels}
    return {"text": prediction.text, "nats": round(float(prediction.nats), 6)}


def _shown(said: Any, between: str = " ") -> str:
    """Return a text, or labels or numbers one after the other, cut where they are long."""
    said = said if isinstance(said, str) else between.join(map(str, said))
    return said if len(said) <= LONGEST_SHOWN else f"{said[: LONGEST_SHOWN - 1]}…"
