"""``recurra evaluate`` with a model that adapts to the text: the options, what they exclude, and the measuring."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recurra.errors import ConfigError

if TYPE_CHECKING:
    from recurra.data import Tokens
    from recurra.evaluation import DynamicConfig, Score
    from recurra.models import CacheConfig, CachedLanguageModel, LanguageModel
    from recurra.training import Run

__all__ = ["Adapting", "adapting_options", "behind_cache", "cache_options", "take_cache"]

F = TypeVar("F", bound=Callable[..., Any])
Progress = Callable[..., None]


def cache_options(function: F) -> F:
    """Add the options of a neural cache."""
    options = (
        click.option("--cache", type=int, metavar="N", help="Neural cache of the last N tokens."),
        click.option("--cache-theta", type=float, help="How much similar states count for more. [default: 0.662]"),
        click.option("--cache-weight", type=float, help="Share of the cache. [default: 0.1279]"),
    )
    return _with_options(function, options)


def adapting_options(function: F) -> F:
    """Add the options of a model that adapts to the text that it is measured on."""
    options = (
        click.option("--dynamic", is_flag=True, help="Dynamic evaluation: learn from each stretch once it is scored."),
        click.option("--segment", type=int, metavar="N", help="Tokens of such a stretch. [default: 5]"),
        click.option("--dynamic-rate", type=float, help="How fast it learns. [default: 5e-5]"),
        click.option("--dynamic-decay", type=float, help="How fast it forgets again. [default: 0.002]"),
        click.option("--tune", is_flag=True, help="Choose those settings of both on the run's validation part."),
    )
    return _with_options(cache_options(function), options)


def take_cache(options: dict[str, Any]) -> CacheConfig | None:
    """Take the settings of a cache out of a command's options; None where none is asked for.

    Raises: ConfigError for settings of none.
    """
    from recurra.models import CacheConfig

    size = options.pop("cache")
    settings = {"theta": options.pop("cache_theta"), "weight": options.pop("cache_weight")}
    given = {name: value for name, value in settings.items() if value is not None}
    if size is None:
        if given:
            raise ConfigError("--cache-theta and --cache-weight are of a cache; give --cache N as well")
        return None
    return CacheConfig(size=size, **given)


def behind_cache(model: LanguageModel, cache: CacheConfig | None) -> LanguageModel | CachedLanguageModel:
    """Return the model behind a cache, if there is one."""
    from recurra.models import CachedLanguageModel

    return model if cache is None else CachedLanguageModel(model, cache)


@dataclass(frozen=True)
class Adapting:
    """What of the model adapts.

    Args:
        dynamic, cache: settings; None for without.
        tune: choose them on the run's validation part.
    """

    dynamic: DynamicConfig | None
    cache: CacheConfig | None
    tune: bool

    @classmethod
    def from_options(
        cls,
        dynamic: bool,
        segment: int | None,
        dynamic_rate: float | None,
        dynamic_decay: float | None,
        tune: bool,
        **cache: Any,
    ) -> Adapting:
        """Read the options of `adapting_options`. Raises: ConfigError for those that contradict each other."""
        from recurra.evaluation import DynamicConfig

        given = {"segment": segment, "rate": dynamic_rate, "decay": dynamic_decay}
        given = {name: value for name, value in given.items() if value is not None}
        if given and not dynamic:
            raise ConfigError("--segment, --dynamic-rate and --dynamic-decay are of --dynamic; give it as well")
        if tune and not dynamic and cache["cache"] is None:
            raise ConfigError("--tune chooses the settings of --dynamic and --cache; give one of them as well")
        chosen = {dynamic_rate, dynamic_decay, cache["cache_theta"], cache["cache_weight"]} - {None}
        if tune and chosen:
            raise ConfigError("--tune chooses rate, decay, theta and weight by itself; leave them out, or --tune")
        return cls(DynamicConfig(**given) if dynamic else None, take_cache(cache), tune)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return self.dynamic is not None or self.cache is not None

    def check_reading(self, batch: int, warmup: int, reset_every: int | None) -> None:
        """Raise ConfigError for ways of reading that leave nothing to adapt to."""
        if self.dynamic is not None and (batch > 1 or warmup or reset_every is not None):
            raise ConfigError("--dynamic learns from one stream; drop --batch, --warmup and --reset-every")
        if self.cache is not None and reset_every is not None:
            raise ConfigError("--reset-every forgets the cache too; drop it, or --cache")

    def measure(self, run: Run, tokens: Tokens, *, progress: Progress, **reading: Any) -> tuple[Score, dict[str, Any]]:
        """Score a text; return also the settings used, by name.

        Raises: ConfigError where there is nothing to tune on, or it is the text itself.
        """
        from recurra.config import as_mapping
        from recurra.evaluation import evaluate, evaluate_dynamic, gradient_sizes

        if self.tune:
            _check_tuning(run, tokens)
        sizes, dynamic, cache = None, self.dynamic, self.cache
        if dynamic is not None:
            sizes = gradient_sizes(
                run.model, run.data.train, dynamic, progress=lambda *done: progress(*done, "gradients of its training")
            )
        if self.tune:
            from recurra.evaluation import tune

            tuned = tune(
                run.model, run.data.valid, cache=cache, dynamic=dynamic, sizes=sizes,
                progress=lambda *done: progress(*done, "tuning"),
            )  # fmt: skip
            dynamic, cache = tuned.dynamic, tuned.cache
            print(
                f"tuned on {'the first ' if tuned.tokens < len(run.data.valid) else ''}{tuned.tokens:,} tokens of the "
                f"validation part, perplexity {tuned.perplexity:.2f} there: {_words(dynamic, cache)}",
                file=sys.stderr,
            )
        model = behind_cache(run.model, cache)
        if dynamic is None or sizes is None:
            score = evaluate(model, tokens, progress=lambda *done: progress(*done, "evaluating"), **reading)
        else:
            score = evaluate_dynamic(
                model, tokens, sizes, dynamic, progress=lambda *done: progress(*done, "evaluating")
            )
        used = {"dynamic": dynamic, "cache": cache}
        return score, {name: as_mapping(config) for name, config in used.items() if config is not None}


def _check_tuning(run: Run, tokens: Tokens) -> None:
    import numpy as np

    valid = run.data.valid
    if not len(valid):
        raise ConfigError("there is no validation part to tune on: the run was trained with --valid 0; drop --tune")
    if len(valid) == len(tokens) and np.array_equal(valid.ids, tokens.ids):
        raise ConfigError("--tune chooses by the validation part, so measure on another text: give it, or drop --tune")


def _words(dynamic: DynamicConfig | None, cache: CacheConfig | None) -> str:
    said = []
    if dynamic is not None:
        said.append(f"--dynamic-rate {dynamic.rate:g} --dynamic-decay {dynamic.decay:g}")
    if cache is not None:
        said.append(f"--cache-theta {cache.theta:g} --cache-weight {cache.weight:g}")
    return " ".join(said)


def _with_options(function: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        function = option(function)
    return function
