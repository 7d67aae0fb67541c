"""Settings of cache and dynamic evaluation, chosen on a text that is not the one to be measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple, TypeVar

from recurra.data import Tokens
from recurra.errors import ConfigError, DivergedError
from recurra.evaluation.dynamic import DynamicConfig, GradientSizes, scores_behind
from recurra.evaluation.perplexity import evaluate
from recurra.models import CacheConfig, CachedLanguageModel, LanguageModel
from recurra.models.cached import Cache

__all__ = ["TUNING_TOKENS", "Tuned", "tune"]

TUNING_TOKENS = 10_000
"""So much of the text, from its beginning, is enough to choose by."""

RATES = (2.5e-5, 5e-5, 1e-4)
DECAYS = (0.001, 0.002, 0.005)
THETAS = (0.3, 0.662, 1.0)
WEIGHTS = (0.05, 0.1279, 0.2, 0.3)

PARTS = 1000
"""Into so many parts a pass is divided for progress."""

Progress = Callable[[int, int], None]
C = TypeVar("C")


class Tuned(NamedTuple):
    """What was chosen, None where there was nothing to choose.

    Args:
        tokens: how many it was chosen on.
        perplexity: with these settings there.
    """

    dynamic: DynamicConfig | None
    cache: CacheConfig | None
    tokens: int
    perplexity: float


def tune(
    model: LanguageModel,
    tokens: Tokens,
    *,
    cache: CacheConfig | None = None,
    dynamic: DynamicConfig | None = None,
    sizes: GradientSizes | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Choose θ and λ of a cache, and η and λ of dynamic evaluation, by the loss on a text.

    Of dynamic evaluation first the rate is chosen and then the decay; then, behind it, the cache from a grid.

    Args:
        tokens: a validation text; of a longer one the first `limit` are read, by default 10,000.
        cache, dynamic: what to tune, with all other settings; None leaves it out.
        sizes: of the gradients, which dynamic evaluation needs.
        progress: called with (parts of all passes done, parts in all).
    Raises: ConfigError if there is nothing to tune; CorpusError if the text is too short.
    """
    if cache is None and dynamic is None:
        raise ConfigError("there is nothing to tune: give a cache, dynamic evaluation, or both")
    if dynamic is not None and sizes is None:
        raise ConfigError("dynamic evaluation needs the sizes of gradients; give sizes=gradient_sizes(...)")
    limit = TUNING_TOKENS if limit is None else limit
    text = tokens.head(limit)
    grid = [] if cache is None else [replace(cache, theta=t, weight=w) for t, w in product(THETAS, WEIGHTS)]
    passes = _Passes(model, text, sizes, _number(dynamic, grid), progress)
    loss = math.inf
    if dynamic is not None:
        by_rate = [replace(dynamic, rate=rate) for rate in RATES]
        best, _ = _best(by_rate, passes.loss)
        best, loss = _best([replace(best, decay=decay) for decay in DECAYS], passes.loss)
        dynamic = best
    if grid:
        losses = dict(zip(grid, passes.losses(dynamic, grid), strict=True))
        known, loss = _best(grid, losses.__getitem__)
        cache = known
    return Tuned(dynamic, cache, len(text), math.exp(loss) if loss < 700 else math.inf)


def _number(dynamic: DynamicConfig | None, grid: Sequence[CacheConfig]) -> int:
    """Return how often the text is read: every rate, every other decay, and all caches in one, if they are behind."""
    return len(grid) if dynamic is None else len(RATES) + len(DECAYS) - (dynamic.decay in DECAYS) + bool(grid)


def _best(candidates: Sequence[C], loss: Callable[[C], float]) -> tuple[C, float]:
    best = min(candidates, key=loss)
    return best, loss(best)


class _Passes:
    """Passes over one text, each made once."""

    def __init__(
        self, model: LanguageModel, text: Tokens, sizes: GradientSizes | None, passes: int, progress: Progress | None
    ) -> None:
        self.model, self.text, self.sizes = model, text, sizes
        self.passes, self.done, self.progress = passes, 0, progress
        self.known: dict[DynamicConfig, float] = {}

    def loss(self, dynamic: DynamicConfig) -> float:
        """Return the loss of dynamic evaluation; infinite where it diverges."""
        if dynamic not in self.known:
            try:
                (self.known[dynamic],) = self.losses(dynamic, [None])
            except DivergedError:
                self.known[dynamic] = math.inf
            self.done += 1
        return self.known[dynamic]

    def losses(self, dynamic: DynamicConfig | None, caches: Sequence[CacheConfig | None]) -> list[float]:
        """Return the loss behind each of several caches."""
        if dynamic is not None and self.sizes is not None:
            behind = [None if cache is None else Cache(cache) for cache in caches]
            scores = scores_behind(self.model, self.text, behind, self.sizes, dynamic, progress=self._tell)
            return [score.loss_nats for score in scores]
        found = []
        for cache in caches:
            found.append(evaluate(CachedLanguageModel(self.model, cache), self.text, progress=self._tell).loss_nats)
            self.done += 1
        return found

    def _tell(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(self.done * PARTS + done * PARTS // total, self.passes * PARTS)
