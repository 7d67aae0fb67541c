"""How surprised a model is by each token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.data import NOTHING, Batch, SequentialStream, Tokens
from recurra.layers import row_pieces
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


@torch.inference_mode()
def surprisals(
    model: Reader,
    ids: NDArray[Any],
    *,
    documents: Sequence[int] | NDArray[np.int64] = (0,),
    alternatives: int = 0,
    window: int = 2048,
) -> Surprisals:
    """Score every token of a text in one pass with the state carried, in memory that grows only with the results.

    Args:
        ids: (N,) the text's tokens, N >= 1.
        documents: positions at which documents start, as `recurra.data.Tokens` has them; each is read afresh.
        alternatives: how many of the most likely tokens to report at each position.
        window: tokens computed together; changes nothing but speed.
    """
    was_training = model.training
    model.eval()
    k = min(alternatives, len(model.vocabulary))
    bits, best, best_bits = [np.full(1, np.nan)], [np.zeros((1, k), np.int64)], [np.full((1, k), np.nan)]
    device, state = model.bias.device, None
    stream: Sequence[Batch] = ()
    if len(ids) > 1:
        stream = SequentialStream(Tokens(np.asarray(ids), documents), rows=1, span=window)
    try:
        for batch in stream:
            reset = None if batch.reset is None else batch.reset.to(device)
            reading, state = model.read(batch.inputs.to(device), state, reset=reset)
            targets = batch.targets[:, 0].to(device)
            steps = (targets != NOTHING).nonzero().squeeze(1)
            wanted = targets[steps].unsqueeze(1)
            for piece in row_pieces(len(steps), len(model.vocabulary), reading.features.shape[-1]):
                surprise = reading.logits(steps[piece]).double().log_softmax(-1) / -np.log(2)
                bits.append(surprise.gather(1, wanted[piece]).squeeze(1).cpu().numpy())
                top = surprise.topk(k, largest=False)
                best.append(top.indices.cpu().numpy())
                best_bits.append(top.values.cpu().numpy())
    finally:
        model.train(was_training)
    return Surprisals(np.concatenate(bits), np.concatenate(best), np.concatenate(best_bits))
