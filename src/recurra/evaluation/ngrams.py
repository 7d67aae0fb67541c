"""What counting achieves: a smoothed n-gram model of tokens, the baseline of every language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.data import Tokens
from recurra.errors import ConfigError, CorpusError

__all__ = ["NgramModel"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

UNSURE = 0.75
"""Discount where too few n-grams were counted to estimate it."""
MOST_AT_ONCE = 1 << 20
"""Tokens scored together; bounds memory, changes nothing else."""


class _Level(NamedTuple):
    """Counts of n-grams of one order, C contexts of k tokens; where k is 0 the one context is empty.

    Args:
        contexts: (C,) sorted keys of contexts: the token on the left, and the number of the context on its right.
        grams: (G,) sorted keys of n-grams: the number of the context, and the token after it.
        discounted: (G,) a(ctx, w) - D.
        totals: (C,) Σ_w a(ctx, w).
        kept_back: (C,) what the discounts have taken from each context.
    """

    contexts: Ints
    grams: Ints
    discounted: Floats
    totals: Floats
    kept_back: Floats


class NgramModel:
    """Interpolated Kneser-Ney smoothing, down to the uniform distribution, so that nothing is impossible.

        p(w | ctx) = (a(ctx w) - D(a(ctx w))) / Σ_v a(ctx v) + γ(ctx) p(w | shorter ctx),    p(w) = 1 / V

    a counts n-grams of the highest order, and of those below the different tokens seen before them; D has values for
    1, 2 and 3 or more, estimated for each order, and γ hands on what they take away. An order of 1 is the smoothed
    unigram. Beginnings of documents are tokens of their own in contexts.

    Args:
        order: n, of the longest n-grams.
        vocab: V.
        discounts: (order, 3), lowest order first, each at most the count it is for. Default: estimated.
    Raises: ConfigError for an order below 1, or so large a vocabulary that n-grams cannot be numbered.
    Source: Kneser & Ney 1995; interpolated, with three discounts, Chen & Goodman 1999.
    """

    def __init__(self, order: int, vocab: int, *, discounts: Any = None) -> None:
        if order < 1:
            raise ConfigError(f"an n-gram has at least 1 token, not {order}")
        self.order, self.vocab = order, vocab
        self._given: Floats | None = None if discounts is None else np.asarray(discounts, np.float64)
        self._levels: list[_Level] = []

    @classmethod
    def fit(
        cls,
        tokens: Tokens,
        *,
        order: int,
        vocab: int,
        progress: Callable[[int, int], None] | None = None,
        discounts: Any = None,
    ) -> NgramModel:
        """Count the n-grams of a text.

        Args:
            tokens: what to learn from, such as ``corpus.train``; N >= 2. The first is only read.
            order, vocab, discounts: as of the class.
            progress: called with (orders done, orders in all).
        Raises: CorpusError if there are too few tokens.
        """
        model = cls(order, vocab, discounts=discounts)
        ids = np.asarray(tokens.ids, np.int64)
        if len(ids) < 2:
            raise CorpusError(f"n-grams are counted in at least 2 tokens, not {len(ids)}; give a longer text")
        if vocab * len(ids) >= 2**62:
            raise ConfigError(
                f"n-grams of {len(ids):,} tokens and {vocab:,} words cannot be numbered; take fewer words"
            )
        model._levels = model._count(ids, tokens, progress or (lambda done, total: None))
        return model

    def surprisals(
        self, ids: NDArray[Any], documents: Sequence[int] | NDArray[np.int64] = (0,), *, labelled: bool = False
    ) -> Floats:
        """Return -log2 p of every token given those before it, (N,); nan for what nothing predicts.

        Args:
            ids: (N,) the text's tokens.
            documents, labelled: as `recurra.data.Tokens` has them. The first token is not predicted, nor is a label.
        """
        ids, starts = np.asarray(ids), Tokens(ids, documents, labelled=labelled).starts
        bits = np.full(len(ids), np.nan)
        for begin in range(1, len(ids), MOST_AT_ONCE):
            predicted = np.arange(begin, min(begin + MOST_AT_ONCE, len(ids)))
            if labelled:
                predicted = predicted[~np.isin(predicted, starts)]
            bits[predicted] = -np.log2(self._probabilities(ids, predicted, starts))
        return bits

    def nats(self, tokens: Tokens) -> float:
        """Return the mean over the tokens that `recurra.evaluation.evaluate` counts: all but the first, and labels."""
        bits = self.surprisals(tokens.ids, tokens.documents, labelled=tokens.labelled)
        return float(np.nanmean(bits) * np.log(2))

    def _count(self, ids: Ints, tokens: Tokens, progress: Callable[[int, int], None]) -> list[_Level]:
        """Number the contexts of each length, and the n-grams they begin, then count from the longest down."""
        n, V, starts = self.order, self.vocab, tokens.starts
        predicted = np.arange(1, len(ids))
        if tokens.labelled:
            predicted = predicted[~np.isin(predicted, starts)]
        number = np.zeros(len(predicted), np.int64)  # of the context of each
        contexts, shorter = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
        for k in range(1, n):
            keys = _left(ids, predicted, k, starts, V) * len(contexts[-1]) + number
            found, first, numbers = np.unique(keys, return_index=True, return_inverse=True)
            contexts.append(found)
            shorter.append(number[first])
            number = numbers
            progress(k, 2 * n - 1)
        grams, counts = np.unique(number * V + ids[predicted], return_counts=True)
        levels = [self._level(contexts[-1], grams, counts, n)]
        progress(n, 2 * n - 1)
        for k in range(n - 1, 0, -1):
            context, token = np.divmod(grams, V)
            grams, counts = np.unique(shorter[k][context] * V + token, return_counts=True)
            levels.append(self._level(contexts[k - 1], grams, counts, k))
            progress(2 * n - k, 2 * n - 1)
        return levels[::-1]

    def _level(self, contexts: Ints, grams: Ints, counts: Ints, order: int) -> _Level:
        D = _discounts(counts) if self._given is None else self._given[order - 1]
        taken = D[np.minimum(counts, 3) - 1]
        context = grams // self.vocab
        totals = np.bincount(context, counts, len(contexts)).astype(np.float64)
        return _Level(
            contexts, grams, counts - taken, totals, np.bincount(context, taken, len(contexts)).astype(np.float64)
        )

    def _probabilities(self, ids: NDArray[Any], predicted: Ints, starts: Ints) -> Floats:
        after = ids[predicted].astype(np.int64)
        p = np.full(len(predicted), 1 / self.vocab)
        number = np.zeros(len(predicted), np.int64)
        rows = np.arange(len(predicted))  # whose context, as far as it is looked at, was counted
        for k, level in enumerate(self._levels):
            if k:
                keys = _left(ids, predicted[rows], k, starts, self.vocab) * len(self._levels[k - 1].contexts) + number
                number, known = _find(level.contexts, keys)
                number, rows = number[known], rows[known]
            place, seen = _find(level.grams, number * self.vocab + after[rows])
            alpha = np.where(seen, level.discounted[place], 0.0)
            p[rows] = (alpha + level.kept_back[number] * p[rows]) / level.totals[number]
        return p


def _left(ids: NDArray[Any], predicted: Ints, k: int, starts: Ints, vocab: int) -> Ints:
    """Return the tokens k places before others; before the beginning of what they are read with, V."""
    beginning = starts[np.searchsorted(starts, predicted - 1, side="right") - 1]
    place = predicted - k
    return np.where(place >= beginning, ids[np.maximum(place, 0)].astype(np.int64), vocab)


def _find(keys: Ints, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the places of numbers among sorted ones, and which of them are there."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted


def _discounts(counts: Ints) -> Floats:
    """Return D for counts of 1, 2, and 3 or more, (3,).

    D_c = c - (c + 1) (n_1 / (n_1 + 2 n_2)) n_{c+1} / n_c                       (eq. 26, Chen & Goodman 1999)
    """
    n = np.bincount(np.minimum(counts, 5), minlength=5)[1:5].astype(np.float64)
    if not n.all():
        return np.full(3, UNSURE)
    c = np.arange(1, 4)
    D = c - (c + 1) * n[0] / (n[0] + 2 * n[1]) * n[1:] / n[:-1]
    return np.where((D > 0) & (c > D), D, UNSURE)
