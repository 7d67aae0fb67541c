"""Settings of training, and of a whole run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from recurra.config import check_at_least, check_choice, check_probability, from_mapping
from recurra.data import DataConfig
from recurra.engine import BACKENDS, Online, Policy, parse_policy
from recurra.errors import ConfigError, nearest
from recurra.models import ModelConfig
from recurra.training.optimization import OPTIMIZERS, SCHEDULES

__all__ = [
    "ORDERS",
    "PARTITIONS",
    "PREDICTIONS",
    "ExamplesConfig",
    "OptimizationConfig",
    "Origin",
    "RunConfig",
    "TrainingConfig",
]

PARTITIONS = ("sequential", "random")
PREDICTIONS = ("every", "last")
ORDERS = ("corpus", "documents", "shards")
MAX_EPOCHS = 1_000_000
MAX_THREADS = 1024


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """Settings that the training of every task has.

    Args:
        batch: rows read side by side.
        optimizer: adamw, adam, rmsprop or sgd.
        lr: learning rate at its highest.
        weight_decay: decoupled for adamw, added to the gradient otherwise; never on biases.
        beta2: decay of the squared gradient's average, for adamw, adam and rmsprop.
        schedule: constant, cosine (after a warm-up), onecycle, plateau (halved when validation stalls), or slanted
            (a short way up and a long one down, both straight).
        clip: largest norm of the gradient; 0 for none.
        clip_value: largest entry of the gradient, clipped before the norm; 0 for none.
        epochs, steps: how long; steps, where given, wins.
        patience: stop after so many epochs without a better validation loss; default never.
        retries: how often training that goes wrong, by a loss that explodes or numbers that are none, goes back to its
            last good checkpoint and on at half the learning rate, before it stops; 0 to stop at once, and never for a
            loss that is a number.
        average: decay of the exponential moving average of weights that is evaluated and kept; 0 for none.
        keep: which weights to keep: the "best" by validation, or the "last".
        seed: of everything random in training. The first weights are drawn when the model is built, before that.
        threads: of the CPU; default as torch chooses.
        device: auto, cpu or cuda.
        backend: what computes the recurrence: auto, llvm, library or loop.
    """

    batch: int = 32
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.01
    beta2: float = 0.99
    schedule: str = "cosine"
    clip: float = 1.0
    clip_value: float = 0.0
    epochs: int = 10
    steps: int | None = None
    patience: int | None = None
    retries: int = 3
    average: float = 0.0
    keep: str = "best"
    seed: int = 0
    threads: int | None = None
    device: str = "auto"
    backend: str = "auto"

    def __post_init__(self) -> None:
        check_choice(OPTIMIZERS, optimizer=self.optimizer)
        check_choice(SCHEDULES, schedule=self.schedule)
        check_choice(("best", "last"), keep=self.keep)
        check_choice(("auto", "cpu", "cuda"), device=self.device)
        check_at_least(1, batch=self.batch, epochs=self.epochs, steps=self.steps, patience=self.patience)
        check_at_least(1, threads=self.threads)
        if self.epochs > MAX_EPOCHS:
            raise ConfigError(f"'epochs' must be at most {MAX_EPOCHS:,}, not {self.epochs:,}")
        if self.threads is not None and self.threads > MAX_THREADS:
            raise ConfigError(f"'threads' must be at most {MAX_THREADS:,}, not {self.threads:,}")
        check_at_least(0, weight_decay=self.weight_decay, clip=self.clip, clip_value=self.clip_value, seed=self.seed)
        check_at_least(0, retries=self.retries)
        check_probability(average=self.average, beta2=self.beta2)
        if not 0 < self.lr < float("inf"):
            raise ConfigError(f"'lr' must be above 0, not {self.lr}")
        for backend in self.backends:
            check_choice(BACKENDS, backend=backend)

    @classmethod
    def of(cls, **settings: Any) -> Self:
        """Build settings in Python, unknown names with a suggestion; a policy may be given as an object or a number."""
        if "backprop" in settings:
            settings["backprop"] = str(settings["backprop"])
        return from_mapping(cls, settings)

    @property
    def backends(self) -> tuple[str, ...]:
        """What computes each layer, or all of them."""
        return tuple(self.backend.split(","))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(OptimizationConfig):
    """Settings of training a language model on a stream of tokens, beside those of every task.

    Args:
        backprop: how gradients travel back through time: ``"64"`` (a window), ``"truncated:16,64"``, ``"random:70"``,
            ``"unbiased:50"``, ``"online"``, ``"full:1024"`` or ``"checkpointed:64MB:4096"``.
        partition: "sequential" carries the state from window to window; "random" shuffles windows that start afresh.
        shuffle: draw the order of random windows, and the position at which a stream begins, anew in every epoch.
        order: in which a stream reads the "corpus": as it is, or its "documents", or those of its "shards", in an order
            drawn anew in every epoch.
        predict: count "every" next token of a window or only the "last".
        ar, tar: weight of activation regularisation and of its temporal form (Merity et al. 2017).
        layer_decay: each layer learns at the rate of the one above it divided by this; 1 for one rate. From the top:
            output layer with a tied embedding, cells downwards, embedding.
        unfreeze: epochs, or a part of one, until the next lower layer is trained, too; 0 for all from the start.
        backend: may name one for each layer, with commas between. A run stores what "auto" was, and goes on with it
            when it is resumed.
    """

    backprop: str = "64"
    partition: str = "sequential"
    shuffle: bool = True
    order: str = "corpus"
    predict: str = "every"
    ar: float = 0.0
    tar: float = 0.0
    layer_decay: float = 1.0
    unfreeze: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(PARTITIONS, partition=self.partition)
        check_choice(ORDERS, order=self.order)
        check_choice(PREDICTIONS, predict=self.predict)
        check_at_least(0, ar=self.ar, tar=self.tar, unfreeze=self.unfreeze)
        check_at_least(1, layer_decay=self.layer_decay)
        for name in ("layer_decay", "unfreeze"):
            if getattr(self, name) == float("inf"):
                raise ConfigError(f"'{name}' must be a finite number, not inf")
        if self.order != "corpus" and (self.partition == "random" or not self.shuffle):
            other = "random windows are shuffled anyway" if self.shuffle else "shuffle is off"
            raise ConfigError(f"order '{self.order}' draws a new order in every epoch, but {other}; leave it out")
        policy = self.policy
        if self.partition == "random" and (isinstance(policy, Online) or not policy.has_equal_spans):
            raise ConfigError(
                f"random windows all start afresh and have one length, so backprop '{self.backprop}' means nothing "
                f"there; take partition 'sequential', or a window such as 64"
            )

    @property
    def policy(self) -> Policy:
        """The way to back-propagate."""
        return parse_policy(self.backprop)


@dataclass(frozen=True, kw_only=True)
class ExamplesConfig(OptimizationConfig):
    """Settings of training on examples, each a sequence that starts afresh, beside those of every task.

    Args:
        backprop: how gradients travel back through each: "full", "checkpointed:64MB", or a window such as "64".
        sampling: scheduled sampling: the share of words that a decoder reads from its own predictions at the end of
            training; it rises to that from 0 (Bengio et al. 2015).
    """

    batch: int = 64
    epochs: int = 20
    backprop: str = "full"
    sampling: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_probability(sampling=self.sampling)
        if len(self.backends) > 1:
            raise ConfigError(f"'backend' is one for all layers here, not {self.backend}")
        if isinstance(self.policy, Online) or not self.policy.has_equal_spans:
            raise ConfigError(
                f"backprop '{self.backprop}' is for a stream; examples take full, checkpointed:MEMORY or a window"
            )

    @property
    def policy(self) -> Policy:
        """The way to back-propagate."""
        return parse_policy(self.backprop)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The run whose weights a training started from.

    Args:
        run: its directory, as it was given.
        weights: the sha256 of its weights, in hexadecimal.
        vocabulary: number of tokens that it had.
    """

    run: str
    weights: str
    vocabulary: int

    def __str__(self) -> str:
        return f"{self.run} (weights {self.weights[:12]}, {self.vocabulary:,} tokens)"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run is made from: a task, settings of the classes that belong to it, and what it began with."""

    task: str = "lm"
    data: Any = field(default_factory=DataConfig)
    model: Any = field(default_factory=ModelConfig)
    training: Any = field(default_factory=TrainingConfig)
    recipe: str | None = None
    origin: Origin | None = None

    def owner(self, name: str) -> str:
        """Return which table a setting belongs to: data, model or training."""
        tables = {"data": self.data, "model": self.model, "training": self.training}
        for table, settings in tables.items():
            if name in settings.__dataclass_fields__:
                return table
        known = (name for settings in tables.values() for name in settings.__dataclass_fields__)
        raise ConfigError(f"unknown setting '{name}'{nearest(name, known)}")

    def with_settings(self, **settings: Any) -> RunConfig:
        """Return a copy with settings replaced by name, wherever they live."""
        tables: dict[str, dict[str, Any]] = {}
        for name, value in settings.items():
            tables.setdefault(self.owner(name), {})[name] = value
        return replace(self, **{table: replace(getattr(self, table), **values) for table, values in tables.items()})
