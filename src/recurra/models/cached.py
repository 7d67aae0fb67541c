"""The neural cache: a language model that expects the words which followed when it was in a similar state before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from recurra.config import check_at_least, check_probability
from recurra.errors import ConfigError
from recurra.models.config import choose_config
from recurra.models.reading import Reading, Wrapped

if TYPE_CHECKING:
    from recurra.models.language_model import LanguageModel

__all__ = ["Cache", "CacheConfig", "CacheState", "CachedLanguageModel", "CachedState"]

WEIGHTS_AT_ONCE = 2**20
"""Weights of remembered tokens that are held together, 4 MiB in float32; bounds memory, changes nothing else."""

SHORTEST_PIECE = 64
"""Steps below which a product costs less to compute than to begin."""


LARGEST_SIZE = 100_000
"""Features of so many tokens are held for every row."""

LARGEST_THETA = 1e6
"""Beyond it only the most similar state counts, and float32 ends."""


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """Settings of a cache. The defaults are those published for WikiText-2, but for the size, which is Penn Treebank's.

    Args:
        size: N, how many tokens back it remembers.
        theta: θ, how much more a similar state counts than another; 0: all count the same.
        weight: λ, the share of probability that the cache gives.
    """

    size: int = 500
    theta: float = 0.662
    weight: float = 0.1279

    def __post_init__(self) -> None:
        check_at_least(1, cache_size=self.size)
        check_at_least(0, cache_theta=self.theta)
        check_probability(cache_weight=self.weight)
        if self.size > LARGEST_SIZE:
            raise ConfigError(f"'cache_size' must be at most {LARGEST_SIZE:,}, not {self.size:,}")
        if self.theta > LARGEST_THETA:
            raise ConfigError(f"'cache_theta' must be at most {LARGEST_THETA:g}, not {self.theta:g}")


class CacheState(NamedTuple):
    """What a cache remembers of B rows.

    Args:
        features: (B, N + 1, O) of the last steps, newest last.
        tokens: (B, N) int64, the token that was read after each but the newest.
        seen: (B,) int64, steps since the row began, at most N + 1: so many features count.
    """

    features: Tensor
    tokens: Tensor
    seen: Tensor


class CachedState(NamedTuple):
    """The state of a model, and that of its cache."""

    model: Any
    cache: CacheState


class Cache:
    """Raises the probability of tokens that were read before, most of those that followed a similar state.

        p(w) = (1 - λ) p_model(w) + λ Σ_i softmax_i(θ h_i · h_t) 1[w = w_i]

    over the last N steps i of the row, where w_i is the token that was read after h_i. While there is none, p is the
    model's.

    Source: Grave, Joulin & Usunier 2017, eq. 2 to 4 and 6.
    """

    def __init__(self, config: CacheConfig) -> None:
        self.config = config

    def zero_state(self, batch: int, features: int, like: Tensor) -> CacheState:
        """Return what an empty cache of B rows and O features holds; type and device as of a tensor."""
        size = self.config.size
        tokens = torch.zeros(batch, size, dtype=torch.int64, device=like.device)
        return CacheState(like.new_zeros(batch, size + 1, features), tokens, tokens.new_zeros(batch))

    def read(
        self, reading: Reading, tokens: Tensor, state: CacheState, *, reset: Tensor | None = None
    ) -> tuple[Reading, CacheState]:
        """Add to a model's reading of a window what the cache expects; its logits stay on the scale of the model's.

        Args:
            tokens, reset: (T, B), of the window.
        Gradient: into the reading's features and its own score; none through the cache.
        """
        T, size = len(tokens), self.config.size
        features = torch.cat([state.features, reading.features.detach().transpose(0, 1)], 1)
        words = torch.cat([state.tokens, tokens.t()], 1)
        seen = _count(state.seen, T, reset).clamp_(max=size + 1)
        window = _Window(features, words, seen, self.config)
        return reading._replace(mix=window.mix), CacheState(features[:, T:], words[:, T:], seen[-1])


class CachedLanguageModel(Wrapped):
    """A language model behind a cache: evaluated, scored with and written with as the model itself.

    Its state is a `CachedState`: reset, selected and saved like any other. It has no parameters of its own and follows
    what happens to those of the model.

    Args:
        model: the language model; shared, not copied.
        config: settings; or give them one by one as keywords.
    """

    def __init__(self, model: LanguageModel, config: CacheConfig | None = None, **settings: Any) -> None:
        super().__init__(model)
        self.cache = Cache(choose_config(CacheConfig, config, settings))

    @property
    def training(self) -> bool:
        """Whether the model is in training mode."""
        return self.model.training

    def train(self, mode: bool = True) -> CachedLanguageModel:
        """Put the model into training mode, or out of it."""
        self.model.train(mode)
        return self

    def eval(self) -> CachedLanguageModel:
        """Put the model into evaluation mode."""
        return self.train(False)

    def zero_state(self, batch: int) -> CachedState:
        """Return the state that a fresh stream starts from, B rows: the model's, and an empty cache."""
        cache = self.cache.zero_state(batch, self.model.output_size, self.bias.detach())
        return CachedState(self.model.zero_state(batch), cache)

    def read(
        self, tokens: Tensor, state: CachedState | None = None, *, reset: Tensor | None = None
    ) -> tuple[Reading, CachedState]:
        """Read a window (T, B); the reading's logits are of model and cache together."""
        state = self.zero_state(tokens.shape[1]) if state is None else state
        reading, after = self.model.read(tokens, state.model, reset=reset)
        reading, cache = self.cache.read(reading, tokens, state.cache, reset=reset)
        return reading, CachedState(after, cache)

    def prefill(self, tokens: Tensor, state: CachedState) -> tuple[Tensor, CachedState]:
        """Read a prompt (T, B) at once: scores (B, V) of the token after its last, and the state there."""
        reading, state = self.read(tokens, state)
        T, B = tokens.shape
        return reading.logits(torch.arange((T - 1) * B, T * B, device=tokens.device)), state

    def step(self, token: Tensor, state: CachedState) -> tuple[Tensor, CachedState]:
        """Read one token per row: token (B,) int64 and B rows -> scores (B, V), next state."""
        return self.prefill(token.unsqueeze(0), state)


class _Window:
    """What a cache knows at each step of a window.

    Args:
        features: (B, N + 1 + T, O) of the cache and the window; step t is number N + 1 + t.
        words: (B, N + T), the token that was read after each but the last.
        seen: (T, B) steps since the row began, step t included, at most N + 1.
    """

    def __init__(self, features: Tensor, words: Tensor, seen: Tensor, config: CacheConfig) -> None:
        self.features, self.words, self.seen, self.config = features, words, seen, config

    @torch.no_grad()
    def mix(self, logits: Tensor, steps: Tensor) -> Tensor:
        """Return scores (n, V) in place of a model's logits at n steps, numbered t · B + b, on the same scale."""
        norm = logits.logsumexp(-1, keepdim=True)
        log_p = logits - norm
        knows = (self.seen.flatten()[steps] > 1).to(log_p).unsqueeze(1)
        log_p += knows * math.log1p(-self.config.weight)
        for piece in self._pieces(len(steps)):
            self._add(log_p[piece], steps[piece])
        return log_p + norm

    def _pieces(self, steps: int) -> Iterator[slice]:
        """Cut n steps so that their weights fit, and those of all rows span little more time than a cache does."""
        size, rows = self.config.size, len(self.words)
        longest = max(size, SHORTEST_PIECE)
        most = max(1, min(WEIGHTS_AT_ONCE // (size + longest), rows * longest))
        return (slice(start, start + most) for start in range(0, steps, most))

    def _add(self, log_p: Tensor, steps: Tensor) -> None:
        """Add the cache's share to ln p (n, V) of n steps: one product per row over the time that they span."""
        size, B = self.config.size, len(self.words)
        t, b = steps // B, steps % B
        rows, row = b.unique(return_inverse=True)
        first, last = int(t.min()), int(t.max())
        # Of step t, memory j counts where it is among the last N, and of the same text: 0 <= N + t - j < seen - 1.
        memories = slice(first + 1, size + last + 1)
        features = self.features if len(rows) == B else self.features[rows]
        now = features[:, size + 1 + first : size + 2 + last]
        similarity = torch.matmul(now, features[:, memories].transpose(1, 2))[row, t - first]
        age = size + t.unsqueeze(1) - torch.arange(memories.start, memories.stop, device=t.device)
        unknown = (age < 0) | (age >= (self.seen.flatten()[steps] - 1).unsqueeze(1))
        similarity = similarity.mul_(self.config.theta).masked_fill_(unknown, torch.finfo(log_p.dtype).min)
        weights = similarity.softmax(-1).masked_fill_(unknown, 0)  # again, where nothing at all is known
        # Only words that stand in the cache gain anything, mostly a small part of the vocabulary.
        known, place = self.words[rows, memories].unique(return_inverse=True)
        place = place.expand(len(t), -1) if len(rows) == 1 else place[row]
        mass = weights.new_zeros(len(t), len(known)).scatter_add_(1, place, weights)
        share = mass.mul_(self.config.weight).log_()
        log_p.index_copy_(1, known, torch.logaddexp(log_p[:, known], share))


def _count(seen: Tensor, T: int, reset: Tensor | None) -> Tensor:
    """Return the steps (T, B) since each row began, given those before the window (B,) and where rows begin afresh."""
    t = torch.arange(T, device=seen.device).unsqueeze(1)
    since = seen + t + 1
    if reset is None:
        return since
    begun = torch.where(reset, t, -1).cummax(0).values
    return torch.where(begun >= 0, t - begun + 1, since)
