"""How surprised a model is by each token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.data import Tokens
from recurra.evaluation.streaming import StreamScorer
from recurra.models import Reader

__all__ = ["Surprisals", "surprisals"]


class Surprisals(NamedTuple):
    """Per token of a text, N long; the first token, which nothing precedes, has surprisal nan.

    Args:
        bits: -log2 p(token | all before it).
        alternatives: (N, K) ids of the most likely tokens at each position, best first.
        alternative_bits: (N, K) their surprisal.
    """

    bits: NDArray[np.float64]
    alternatives: NDArray[np.int64]
    alternative_bits: NDArray[np.float64]


def surprisals(
    model: Reader,
    ids: NDArray[Any],
    *,
    documents: Sequence[int] | NDArray[np.int64] = (0,),
    labelled: bool = False,
    alternatives: int = 0,
    window: int = 2048,
    batch: int = 1,
    warmup: int = 0,
) -> Surprisals:
    """Score every token of a text in one pass with the state carried, in memory that grows only with the results.

    Args:
        ids: (N,) the text's tokens, N >= 1.
        documents, labelled: as `recurra.data.Tokens` has them; each document is read afresh, and a label is nan.
        alternatives: how many of the most likely tokens to report at each position.
        window: tokens computed together; changes nothing but speed.
        batch, warmup: as of `StreamScorer`.
    """
    scorer = StreamScorer(model, alternatives=alternatives, window=window, batch=batch, warmup=warmup)
    fresh, starts = np.zeros(len(ids), np.bool_), Tokens(ids, documents, labelled=labelled).starts
    fresh[starts[1:]] = True
    piece = max(window, 1 << 16)
    parts = [
        scorer.feed(np.asarray(ids[start : start + piece]), fresh=fresh[start : start + piece])
        for start in range(0, len(ids), piece)
    ]
    parts.append(scorer.finish())
    found = Surprisals(*(np.concatenate(each) for each in list(zip(*parts, strict=True))[1:]))
    if labelled:
        found.bits[starts] = np.nan
    return found
