"""Attention: what a query finds in a memory, a weighted mean of its places."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recurra.engine.products import product
from recurra.errors import ShapeError
from recurra.layers.padding import valid_steps, zero_padding

__all__ = ["ATTENTIONS", "AdditiveAttention", "Attention", "DotAttention", "Memory"]

SCORES_AT_ONCE = 2**24
"""Numbers of the largest tensor that additive attention holds, 64 MiB in float32."""


class Memory(NamedTuple):
    """Places to look at, batch first as in a state, so that its rows can be selected with the rest of one.

    Args:
        values: (B, S, K) what is found.
        keys: (B, S, A) how it is found, computed once.
        lengths: (B,) int64, valid places of each row, at least 1.
    """

    values: Tensor
    keys: Tensor
    lengths: Tensor


class Attention(nn.Module):
    """Weights of places by a score of query and key; a subclass says how both are compared.

        a_s = softmax_s score(q, k_s),    context = Σ_s a_s k_s

    Args:
        query_size: features Q of a query.
        key_size: features K of a place.
    """

    def __init__(self, query_size: int, key_size: int) -> None:
        super().__init__()
        self.query_size = query_size
        self.key_size = key_size

    def memory(self, places: Tensor, lengths: Tensor | None = None) -> Memory:
        """Prepare places (S, B, K), time first, of which each row has `lengths` (B,), by default all, to be looked at.

        Places past a row's end may hold anything, and are never seen.
        """
        if places.ndim != 3 or places.shape[2] != self.key_size:
            raise ShapeError(f"places are {tuple(places.shape)}, but this attention reads (S, B, {self.key_size})")
        if lengths is None:
            lengths = torch.full(places.shape[1:2], len(places), dtype=torch.int64)
        lengths = lengths.to(places.device)
        # zero times a weight of zero is zero; what is no number would spread
        values = zero_padding(places, lengths).transpose(0, 1).contiguous()
        return Memory(values, self._keys(values), lengths)

    def forward(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Look up all queries at once.

        Args:
            queries: (T, B, Q), or (B, Q) of one step.
        Returns: (context (T, B, K), weights (T, B, S)), or without T. Weights past a row's end are exactly 0.
        Gradient: into queries, the memory's values and keys, and parameters.
        """
        if queries.ndim == 2:
            context, weights = self(queries.unsqueeze(0), memory)
            return context.squeeze(0), weights.squeeze(0)
        scores = self._scores(queries.transpose(0, 1), memory.keys)
        valid = valid_steps(memory.lengths, memory.keys.shape[1]).T.unsqueeze(1)
        weights = torch.softmax(scores.masked_fill(~valid, -math.inf), -1)
        return torch.bmm(weights, memory.values).transpose(0, 1), weights.transpose(0, 1)

    @abstractmethod
    def _keys(self, values: Tensor) -> Tensor:
        """Return what the scores need of places (B, S, K)."""

    @abstractmethod
    def _scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return (B, T, S) of queries (B, T, Q) and keys (B, S, A)."""

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{self.query_size}, {self.key_size}"


class DotAttention(Attention):
    """Score of a product.

        score(q, k_s) = qᵀ W k_s                                                     (eq. 8, "general")

    Source: Luong, Pham & Manning 2015.
    """

    def __init__(self, query_size: int, key_size: int) -> None:
        super().__init__(query_size, key_size)
        self.W = _uniform(query_size, key_size)

    def _keys(self, values: Tensor) -> Tensor:
        return product(values, self.W)

    def _scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        return torch.bmm(queries, keys.transpose(1, 2))


class AdditiveAttention(Attention):
    """Score of a small network.

        score(q, k_s) = vᵀ tanh(W q + U k_s + b)                                     (appendix A.1.2)

    Of long sequences, the network is computed in pieces of time, and again in the backward pass, so that memory stays
    bounded.

    Args:
        hidden_size: units A of the network; default Q.
    Source: Bahdanau, Cho & Bengio 2015.
    """

    def __init__(self, query_size: int, key_size: int, hidden_size: int | None = None) -> None:
        super().__init__(query_size, key_size)
        size = hidden_size or query_size
        self.W = _uniform(size, query_size)
        self.U = _uniform(size, key_size)
        self.b = nn.Parameter(torch.zeros(size))
        self.v = _uniform(size)

    def _keys(self, values: Tensor) -> Tensor:
        return product(values, self.U, self.b)

    def _scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        queries = product(queries, self.W)
        at_once = max(1, SCORES_AT_ONCE // max(1, keys.numel()))
        if queries.shape[1] <= at_once:
            return self._compare(queries, keys)
        pieces: list[Any] = [
            checkpoint(self._compare, piece, keys, use_reentrant=False) for piece in queries.split(at_once, 1)
        ]
        return torch.cat(pieces, 1)

    def _compare(self, queries: Tensor, keys: Tensor) -> Tensor:
        return torch.tanh(queries.unsqueeze(2) + keys.unsqueeze(1)) @ self.v


ATTENTIONS: dict[str, type[Attention]] = {"additive": AdditiveAttention, "dot": DotAttention}
"""By name."""


def _uniform(*shape: int) -> nn.Parameter:
    bound = shape[-1] ** -0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
