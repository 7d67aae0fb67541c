"""How surprised a model is by each token of a text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.models import LanguageModel

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


@torch.inference_mode()
def surprisals(
    model: LanguageModel, ids: NDArray[np.int32], *, alternatives: int = 0, window: int = 2048
) -> Surprisals:
    """Score every token of a text in one pass with the state carried, in memory that grows only with the results.

    Args:
        ids: (N,) the text's tokens, N >= 1.
        alternatives: how many of the most likely tokens to report at each position.
        window: tokens computed together; changes nothing but speed.
    """
    was_training = model.training
    model.eval()
    tokens = torch.from_numpy(np.array(ids, np.int64)).to(model.bias.device)
    k = min(alternatives, len(model.vocabulary))
    bits, best, best_bits = [np.full(1, np.nan)], [np.zeros((1, k), np.int64)], [np.full((1, k), np.nan)]
    state = None
    try:
        for start in range(0, len(tokens) - 1, window):
            stop = min(start + window, len(tokens) - 1)
            features, state = model.features(tokens[start:stop].unsqueeze(1), state)
            surprise = model.project(features.raw[:, 0]).double().log_softmax(-1) / -np.log(2)
            bits.append(surprise.gather(1, tokens[start + 1 : stop + 1].unsqueeze(1)).squeeze(1).cpu().numpy())
            top = surprise.topk(k, largest=False)
            best.append(top.indices.cpu().numpy())
            best_bits.append(top.values.cpu().numpy())
    finally:
        model.train(was_training)
    return Surprisals(np.concatenate(bits), np.concatenate(best), np.concatenate(best_bits))
