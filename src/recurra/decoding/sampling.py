"""Which token comes next: temperature, the most likely tokens, the typical ones, greedy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, pad, softmax

from recurra.config import check_at_least
from recurra.errors import ConfigError, DivergedError, ShapeError

__all__ = ["Sampler"]


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How a token is drawn from logits: the temperature, then top-k, top-p, min-p and typical, each of what is left.

        p_i = softmax(logits / temperature)_i,    0 outside the tokens that are kept

    The order is that of Hugging Face transformers. Each setting sees the probabilities that those before it left, and
    always leaves a token.

    Args:
        temperature: below 1 bolder, above 1 wilder; 0 is greedy.
        top_k: keep exactly the k most likely tokens; of equally likely ones those with the lowest id.
        top_p: keep the fewest tokens, the most likely first, whose probability reaches p.
        min_p: keep the tokens with p_i ≥ min_p · max p.
        typical: keep the fewest tokens whose probability reaches this, those first whose surprisal -log p_i is nearest
            to the entropy -Σ p log p; of equally near ones the most likely.
        greedy: always take the most likely token, the lowest id of equals.
    Source: top-k Fan et al. 2018; top-p (nucleus) Holtzman et al. 2020; min-p Nguyen et al. 2024; typical
        Meister et al. 2022.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical: float | None = None
    greedy: bool = False

    def __post_init__(self) -> None:
        check_at_least(0, temperature=self.temperature)
        check_at_least(1, top_k=self.top_k)
        if math.isinf(self.temperature):
            raise ConfigError(f"'temperature' must be finite, not {self.temperature}")
        if self.greedy and (self.temperature not in (0, 1) or self._keeps):
            raise ConfigError("greedy always takes the most likely token; leave out the other settings of sampling")
        for name in ("top_p", "min_p", "typical"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ConfigError(f"'{name}' is a probability, above 0 and at most 1, not {value}")

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is left to chance."""
        return self.greedy or self.temperature == 0 or self.top_k == 1

    @property
    def _keeps(self) -> bool:
        return any(setting is not None for setting in (self.top_k, self.top_p, self.min_p, self.typical))

    def distribution(self, logits: Tensor) -> Tensor:
        """Return log-probabilities (..., V), float64, of logits (..., V); -inf for tokens that are never drawn.

        Raises: DivergedError if logits are not numbers.
        """
        _check_numbers(logits)
        if self.is_greedy:
            best = logits.argmax(-1, keepdim=True)
            return torch.full_like(logits, -math.inf, dtype=torch.float64).scatter_(-1, best, 0.0)
        scores = logits.double()
        # The largest score becomes 0 first, so that no temperature can overflow.
        scores = (scores - scores.amax(-1, keepdim=True)) / self.temperature
        if self._keeps:
            ordered, ids = scores.sort(dim=-1, descending=True, stable=True)
            kept = ordered.masked_fill(~self._kept(ordered), -math.inf)
            scores = torch.empty_like(scores).scatter_(-1, ids, kept)
        return log_softmax(scores, -1)

    def draw(self, logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw one token per row.

        Each row takes a single number from its own generator, whatever the settings, so that what is drawn in a row
        does not depend on the rows beside it. Greedy takes none.

        Args:
            logits: (B, V) float.
            generators: one per row.
        Returns: ids (B,) int64.
        Raises: ShapeError if the numbers of rows and generators differ; DivergedError if logits are not numbers.
        """
        if logits.ndim != 2 or len(generators) != len(logits):
            raise ShapeError(f"logits {tuple(logits.shape)} must be (rows, tokens), with {len(generators)} generators")
        if self.is_greedy:
            _check_numbers(logits)
            return logits.argmax(-1)
        cumulative = self.distribution(logits).exp().cumsum(-1)
        chance = torch.stack([torch.rand(1, dtype=torch.float64, generator=g, device=g.device) for g in generators])
        # The first token whose cumulative probability lies above: never one of probability 0.
        return torch.searchsorted(cumulative, chance.to(logits.device) * cumulative[:, -1:], right=True).squeeze(-1)

    def _kept(self, ordered: Tensor) -> Tensor:
        """Mark the scores (..., V), in falling order from 0, that are kept."""
        kept = torch.ones_like(ordered, dtype=torch.bool)
        if self.top_k is not None:
            kept[..., self.top_k :] = False
        if self.top_p is not None and self.top_p < 1:
            mass = softmax(ordered.masked_fill(~kept, -math.inf), -1).cumsum(-1)
            kept &= pad(mass[..., :-1], (1, 0)) < self.top_p
        if self.min_p is not None:
            kept &= ordered.exp() >= self.min_p
        if self.typical is not None and self.typical < 1:
            kept &= _typical(log_softmax(ordered.masked_fill(~kept, -math.inf), -1), self.typical)
        return kept


def _typical(log_p: Tensor, mass: float) -> Tensor:
    """Mark the log-probabilities (..., V), in falling order, that are nearest to the mean and together reach `mass`."""
    p = log_p.exp()
    entropy = -(p * log_p.masked_fill(p == 0, 0.0)).sum(-1, keepdim=True)
    nearest = (log_p + entropy).abs().argsort(dim=-1, stable=True)
    before = pad(p.gather(-1, nearest).cumsum(-1)[..., :-1], (1, 0))
    return torch.empty_like(p, dtype=torch.bool).scatter_(-1, nearest, before < mass)


def _check_numbers(logits: Tensor) -> None:
    if not bool(logits.amax(-1).isfinite().all()):
        raise DivergedError(
            "the model's scores for the next token are not numbers; use weights from before it diverged"
        )
