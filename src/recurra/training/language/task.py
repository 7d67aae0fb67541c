"""Language modelling as a task: windows of a stream of tokens, the state carried between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.checkpoint import RunDirectory, named_failures
from recurra.data import Batch, Corpus, DataConfig, check_continues, check_reordering, load_tokenizer, token_counts
from recurra.engine import Checkpointed
from recurra.errors import ConfigError
from recurra.models import LanguageModel, ModelConfig
from recurra.state import from_named, num_bytes
from recurra.training.config import RunConfig, TrainingConfig
from recurra.training.language.objective import check_policy, objective
from recurra.training.language.samples import sample_text
from recurra.training.language.streams import count_steps, make_stream
from recurra.training.language.validation import validate
from recurra.training.layers import Layers
from recurra.training.task import Objective, Progress, Scale, Task, Validation

if TYPE_CHECKING:
    from recurra.training.run import Run

__all__ = ["LanguageTask"]

SAMPLE_TOKENS = 120


class LanguageTask(Task):
    """Each window of the stream is one optimizer step; its final state, detached, starts the next window."""

    name = "lm"
    data_settings = DataConfig
    model_settings = ModelConfig
    training_settings = TrainingConfig
    model_class = LanguageModel

    model: LanguageModel
    data: Corpus
    config: TrainingConfig

    @classmethod
    def default_config(cls) -> RunConfig:
        """Return the settings of a run for which nothing is asked."""
        return RunConfig()

    @classmethod
    def make_data(cls, config: RunConfig, progress: Progress | None = None) -> Corpus:
        """Read and tokenise a text."""
        return Corpus.build(config.data)

    @classmethod
    def make_model(cls, config: RunConfig, data: Corpus) -> LanguageModel:
        """Build the model for the vocabulary of a corpus."""
        return LanguageModel(data.tokenizer, config.model)

    def describe(self, directory: RunDirectory) -> None:
        """Write vocabulary and tokens."""
        with named_failures(directory.tokenizer_file):
            self.data.tokenizer.save(directory.tokenizer_file)
        self.data.save(directory.tokens)

    @classmethod
    def load_model(cls, directory: RunDirectory, config: RunConfig) -> LanguageModel:
        """Build the model of a run."""
        return LanguageModel(load_tokenizer(directory.tokenizer_file), config.model)

    @classmethod
    def load_data(cls, directory: RunDirectory) -> Corpus:
        """Open the tokens of a run, memory-mapped."""
        return Corpus.load(directory.tokens)

    @classmethod
    def facts(cls, run: Run) -> dict[str, Any]:
        """Vocabulary, corpus and the size of the state."""
        labels = {"labels": list(run.tokenizer.labels)} if run.tokenizer.labels else {}
        names = ("train_tokens", "valid_tokens")
        parts = dict(zip(names, token_counts(run.directory.tokens), strict=True)) if run.has_data else {}
        return {
            "vocabulary": len(run.tokenizer),
            **labels,
            "tokenizer": run.tokenizer.kind,
            "corpus": run.config.data.source,
            **parts,
            "state_bytes": num_bytes(run.model.zero_state(1)),
        }

    def check(self) -> None:
        """Raise ConfigError if the model has another vocabulary than the corpus, or windows would lose labels."""
        if self.model.vocabulary.digest != self.data.vocabulary.digest:
            raise ConfigError("the model was built for another vocabulary; build it with corpus.vocabulary")
        if self.data.train.labelled and self.config.partition == "random":
            raise ConfigError("random windows cut texts off their labels; with 'condition' take partition 'sequential'")
        if self.config.order != "corpus":
            check_reordering(self.data.train, self.config.order)

    def prepare(self, fresh: bool) -> str | None:
        """Find out what the backend "auto" is here, and check the policy of back-propagation.

        Returns: what the policy costs, where it keeps to a budget.
        """
        layers = len(self.config.backends)
        if layers not in (1, self.model.stack.num_layers):
            raise ConfigError(f"'backend' names {layers} layers, but the model has {self.model.stack.num_layers}")
        if self.config.backend == "auto":
            sample = torch.zeros(1, self.config.batch, self.model.embedding.embedding_dim, device=self.device)
            found = self.model.stack.paths(sample)
            self.config = replace(self.config, backend=found[0] if len(set(found)) == 1 else ",".join(found))
        if self.processes.several and self.model.stack.zoneout and isinstance(self.config.policy, Checkpointed):
            raise ConfigError(
                "checkpointed back-propagation draws the noise of zoneout piece by piece, and processes with other "
                "rows cut other pieces; leave out zoneout, take another backprop, or one process"
            )
        stream = self.stream(0)
        cost = check_policy(self.model, self.config, self.processes.part(stream)[0].to(self.device))
        notes = [] if cost is None else [f"back-propagation {cost}"]
        trained, steps = self.layers(), self.config.steps or self.config.epochs * len(stream)
        if left := len(trained.parameters) - trained.count((steps - 1) / len(stream)):
            notes.append(
                f"the lowest {left} of {len(trained.parameters)} layers stay as they are: with unfreeze "
                f"{self.config.unfreeze:g} their turn would come only after the {steps:,} steps of this training"
            )
        return "; ".join(notes) or None

    @property
    def has_validation(self) -> bool:
        """Whether the corpus has a validation part."""
        return len(self.data.valid) > 0

    @property
    def scale(self) -> Scale:
        """Tokens; bits per character where they are characters, else perplexity."""
        quality = _bits if self.model.vocabulary.kind == "char" else _perplexity
        return Scale("tokens", self.config.batch * self.config.policy.span, quality)

    def stream(self, epoch: int) -> Sequence[Batch]:
        """Return the windows of an epoch."""
        return make_stream(self.data.train, self.config, epoch)

    def count_steps(self) -> int:
        """Return how many windows there are in all epochs."""
        return count_steps(self.data.train, self.config)

    def objective(self, batch: Batch, state: Any, progress: float) -> Objective:
        """Read a window from the carried state."""
        return objective(self.model, self.config, batch, state)

    def carry(self, previous: Batch | None, batch: Batch, state: Any) -> Any:
        """Return the state, once it is certain that the window goes on where the one before it ended."""
        if previous is None or self.config.partition == "random":
            return None
        check_continues(previous, batch)
        return state

    def restore_state(self, leaves: Mapping[str, Tensor]) -> Any:
        """Return the carried state, with what the policy carries beside it."""
        return from_named(self.model.zero_state(1, self.config.policy.within[1]), leaves)

    def layers(self) -> Layers:
        """Return the layers from the top down, if they are to learn differently."""
        decay, unfreeze = self.config.layer_decay, self.config.unfreeze
        if decay == 1 and not unfreeze:
            return super().layers()
        return Layers(self.model.layers_from_top(), decay=decay, unfreeze=unfreeze)

    def rate(self, batch: Batch) -> float:
        """Longer windows of a policy with unequal ones may move further."""
        return self.config.policy.rate(len(batch.inputs))

    def validate(self, progress: Progress) -> Validation | None:
        """Score the validation part by the protocol of the training."""
        score = validate(self.model, self.data.valid, self.config, progress=progress, processes=self.processes)
        if score is None:
            return None
        perplexity = score.perplexity if math.isfinite(score.perplexity) else None
        return Validation(score.loss_nats, {"perplexity": perplexity, "accuracy": score.accuracy})

    def sample(self, number: int) -> str:
        """Generate a text."""
        return sample_text(self.model, tokens=SAMPLE_TOKENS, seed=self.config.seed + number, number=number)


def _bits(loss_nats: float) -> str:
    return f"{loss_nats / math.log(2):.3f} bits/char"


def _perplexity(loss_nats: float) -> str:
    return f"perplexity {math.exp(min(loss_nats, 50)):.2f}"
