"""Which token comes next: temperature, top-k, top-p, greedy."""

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
    """How a token is drawn from logits: first the temperature, then top-k, then top-p of what is left.

        p_i = softmax(logits / temperature)_i,    0 outside the tokens that are kept

    Args:
        temperature: below 1 bolder, above 1 wilder; 0 is greedy.
        top_k: keep exactly the k most likely tokens; of equally likely ones those with the lowest id.
        top_p: keep the fewest tokens, the most likely first, whose probability reaches p.
        greedy: always take the most likely token, the lowest id of equals.
    Source: top-k Fan et al. 2018; top-p (nucleus) Holtzman et al. 2020.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    greedy: bool = False

    def __post_init__(self) -> None:
        check_at_least(0, temperature=self.temperature)
        check_at_least(1, top_k=self.top_k)
        if math.isinf(self.temperature):
            raise ConfigError(f"'temperature' must be finite, not {self.temperature}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"'top_p' is a probability, above 0 and at most 1, not {self.top_p}")

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is left to chance."""
        return self.greedy or self.temperature == 0 or self.top_k == 1

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
        if self.top_k is not None or self.top_p is not None:
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
        """Mark the scores (..., V), in falling order, that top-k and then top-p keep."""
        kept = torch.ones_like(ordered, dtype=torch.bool)
        if self.top_k is not None:
            kept[..., self.top_k :] = False
        if self.top_p is not None and self.top_p < 1:
            mass = softmax(ordered.masked_fill(~kept, -math.inf), -1).cumsum(-1)
            kept &= pad(mass[..., :-1], (1, 0)) < self.top_p
        return kept


def _check_numbers(logits: Tensor) -> None:
    if not bool(logits.amax(-1).isfinite().all()):
        raise DivergedError(
            "the model's scores for the next token are not numbers; use weights from before it diverged"
        )
