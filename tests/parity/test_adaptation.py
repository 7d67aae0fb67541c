"""Cache and dynamic evaluation against scalar loops written from their papers."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from recurra.data import Tokens, build_tokenizer
from recurra.evaluation import DynamicConfig, dynamic, evaluate, evaluate_dynamic, gradient_sizes
from recurra.models import CachedLanguageModel, LanguageModel
from recurra.state import detach
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
    found = reading.logits(torch.arange(len(tokens))).softmax(-1)
    for t in range(len(tokens)):
        pairs = [(h[i], tokens[i + 1]) for i in range(t)][-size:]
        p = list(p_model[t])
        if pairs:
            scores = [math.exp(theta * sum(a * b for a, b in zip(past, h[t], strict=True))) for past, _ in pairs]
            p = [(1 - weight) * value for value in p]
            for score, (_, word) in zip(scores, pairs, strict=True):
                p[word] += weight * score / sum(scores)
        torch.testing.assert_close(found[t], torch.tensor(p, dtype=torch.float64), **TOLERANCE)


def nats_by_loop(model, tokens, segment, learn):
    """Nats of each segment, learning after each from its gradient."""
    total, length, state = [], len(tokens), None
    for start in range(0, length - 1, segment):
        stop = min(start + segment, length - 1)
        inputs, targets = torch.tensor(tokens[start:stop]), torch.tensor(tokens[start + 1 : stop + 1])
        logits, state = model(inputs.unsqueeze(1), state)
        state = detach(state)
        nats = cross_entropy(logits[:, 0], targets, reduction="sum")
        grads = torch.autograd.grad(nats / targets.numel(), list(model.parameters()))
        learn([g.flatten().tolist() for g in grads], stop - start)
        total.append(nats.item())
    return total


@pytest.mark.parametrize("settings", [{"tie": True}, {"tie": False, "cell": "gru", "layers": 2}])
def test_dynamic_evaluation_is_the_formula(settings):
    model = small_model(**settings)
    parameters = list(model.parameters())
    train = [0, 1, 2, 3, 4, 5, 1, 0, 2, 4, 1, 3, 5, 0, 1, 2, 2]
    text = [5, 1, 2, 0, 3, 4, 1, 1, 2, 0, 3, 4, 5, 6, 1]
    eta, lam, epsilon, segment = 0.002, 0.3, 1e-3, 4

    squares = [[0.0] * p.numel() for p in parameters]
    batches = 0

    def add(grads, count):
        nonlocal batches
        batches += 1
        for square, g in zip(squares, grads, strict=True):
            for i, value in enumerate(g):
                square[i] += value * value

    nats_by_loop(model, train, segment, add)
    MS = [[math.sqrt(value / batches) for value in square] for square in squares]
    config = DynamicConfig(rate=eta, decay=lam, epsilon=epsilon, segment=segment, rows=1)
    stream = Tokens(np.array(train))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic, "_beginning", lambda tokens, seed: 0)  # where the loop above begins
        sizes = gradient_sizes(model, stream, config)
    for found, expected in zip(sizes.MS, MS, strict=True):
        torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float64), **TOLERANCE)

    mean = sum(sum(ms) / len(ms) for ms in MS) / len(MS)
    before = [p.detach().flatten().tolist() for p in parameters]

    def update(grads, count):
        lam_now, eta_now = lam * segment / 5, eta * segment / 5
        for p, start, ms, g in zip(parameters, before, MS, grads, strict=True):
            now = p.detach().flatten().tolist()
            for i in range(len(now)):
                D = min(ms[i] / mean, 1 / lam_now)
                now[i] += count / segment * (lam_now * D * (start[i] - now[i]) - eta_now * g[i] / (ms[i] + epsilon))
            p.data.copy_(torch.tensor(now, dtype=torch.float64).view_as(p))

    nats = nats_by_loop(model, text, segment, update)
    for p, start in zip(parameters, before, strict=True):
        p.data.copy_(torch.tensor(start, dtype=torch.float64).view_as(p))
    found = evaluate_dynamic(model, Tokens(np.array(text)), sizes, config)
    assert any(ms > mean / (lam * segment / 5) for size in MS for ms in size)  # some decay at their largest
    assert found.tokens == len(text) - 1
    assert found.loss_nats * found.tokens == pytest.approx(sum(nats), rel=TOLERANCE["rtol"])
    assert abs(found.loss_nats - evaluate(model, Tokens(np.array(text))).loss_nats) > 1e-5
