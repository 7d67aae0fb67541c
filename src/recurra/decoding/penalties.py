"""Controls of single tokens: those that came before less likely, banned ones never, forced ones first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from recurra.decoding.controls import Control
from recurra.errors import ConfigError

__all__ = ["Banned", "Forced", "RepetitionPenalty"]


class RepetitionPenalty(Control):
    """Makes tokens less likely that the prompt or the text already has.

        logit_i / θ  where positive,    logit_i · θ  where negative,    for every token i that came before

    Args:
        penalty: θ, above 0; 1 changes nothing, and below 1 repetition is welcome.
        vocabulary: number of tokens V.
    Source: Keskar et al. 2019, eq. 2; of negative logits, its published code.
    """

    def __init__(self, penalty: float, vocabulary: int) -> None:
        if not 0 < penalty < math.inf:
            raise ConfigError(f"'repetition_penalty' must be above 0 and finite, not {penalty}")
        self.penalty, self.vocabulary = penalty, vocabulary

    def start(self, prompt: Tensor) -> Tensor:
        """Return which tokens the prompt (T, B) has, (B, V) bool."""
        seen = torch.zeros(prompt.shape[1], self.vocabulary, dtype=torch.bool, device=prompt.device)
        return seen.scatter(1, prompt.t(), True)

    def apply(self, logits: Tensor, state: Tensor) -> Tensor:
        """Return scores (B, V), those of tokens that came before lowered."""
        lowered = torch.where(logits > 0, logits / self.penalty, logits * self.penalty)
        return torch.where(state, lowered, logits)

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        """Note one token per row; one behind the vocabulary is none of the model's."""
        known = (token < self.vocabulary)[:, None]
        place = token[:, None].clamp(max=self.vocabulary - 1)
        return state.scatter(1, place, known | state.gather(1, place))


class Banned(Control):
    """Keeps tokens from ever being drawn.

    Args:
        ids: the tokens.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = torch.tensor(sorted(set(ids)), dtype=torch.int64)

    def start(self, prompt: Tensor) -> Tensor:
        """Nothing is remembered; a state must have a leaf for each row."""
        return prompt.new_zeros(prompt.shape[1])

    def apply(self, logits: Tensor, state: Tensor) -> Tensor:
        """Return scores (B, V), -inf for banned tokens. Raises: ConfigError if they are all there is."""
        scores = logits.index_fill(1, self.ids.to(logits.device), -math.inf)
        if len(self.ids) == logits.shape[1]:
            raise ConfigError("all tokens are banned; leave one to draw")
        return scores


class Forced(Control):
    """Makes a text begin with given tokens; after them the model is free.

    Args:
        ids: the tokens, in order.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = torch.tensor(list(ids), dtype=torch.int64)

    def start(self, prompt: Tensor) -> Tensor:
        """Return how many tokens have been written, (B,)."""
        return prompt.new_zeros(prompt.shape[1])

    def apply(self, logits: Tensor, state: Tensor) -> Tensor:
        """Return scores (B, V): in rows that still begin, 0 for the token that comes and -inf for all others."""
        begins = state < len(self.ids)
        if not bool(begins.any()):
            return logits
        ids = self.ids.to(state.device)[state.clamp(max=len(self.ids) - 1)]
        alone = torch.full_like(logits, -math.inf).scatter(1, ids[:, None], 0.0)
        return torch.where(begins[:, None], alone, logits)

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        """Count one token more."""
        return state + 1
