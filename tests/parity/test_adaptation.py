"""Cache and dynamic evaluation against scalar loops written from their papers."""

import math

import pytest
import torch

from recurra.data import build_tokenizer
from recurra.models import CachedLanguageModel, LanguageModel
from recurra.testing import TOLERANCES

TOLERANCE = TOLERANCES[torch.float64]


def small_model(**settings):
    torch.manual_seed(0)
    model = LanguageModel(build_tokenizer("char", ["abcdef\n"]), **{"hidden": 3, "cell": "lstm", **settings}).double()
    return model.eval()


@pytest.mark.parametrize("size", [1, 3, 20])
def test_the_cache_is_the_formula(size):
    model, theta, weight = small_model(), 3.0, 0.3
    tokens = [0, 1, 2, 3, 1, 2, 0, 0, 1, 2]
    with torch.no_grad():
        features, _ = model.features(torch.tensor(tokens).unsqueeze(1))
        p_model = model.project(features.raw).softmax(-1)[:, 0].tolist()
    h = features.raw[:, 0].tolist()
    reading, _ = CachedLanguageModel(model, size=size, theta=theta, weight=weight).read(torch.tensor(tokens)[:, None])
    found = reading.logits(torch.arange(len(tokens))).exp()
    for t in range(len(tokens)):
        pairs = [(h[i], tokens[i + 1]) for i in range(t)][-size:]
        p = list(p_model[t])
        if pairs:
            scores = [math.exp(theta * sum(a * b for a, b in zip(past, h[t], strict=True))) for past, _ in pairs]
            p = [(1 - weight) * value for value in p]
            for score, (_, word) in zip(scores, pairs, strict=True):
                p[word] += weight * score / sum(scores)
        torch.testing.assert_close(found[t], torch.tensor(p, dtype=torch.float64), **TOLERANCE)
