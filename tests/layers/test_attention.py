import math

import pytest
import torch

from recurra.errors import ShapeError
from recurra.layers import ATTENTIONS, AdditiveAttention, DotAttention, attention
from recurra.state import select
from recurra.testing.tolerances import TOLERANCES

T, S, B, Q, K, A = 5, 4, 3, 6, 7, 2
LENGTHS = torch.tensor([4, 1, 3])


def make(name):
    return ATTENTIONS[name](Q, K).double()


def some():
    return torch.randn(T, B, Q, dtype=torch.float64), torch.randn(S, B, K, dtype=torch.float64)


every = pytest.mark.parametrize("name", ATTENTIONS)


def softmax(scores):
    masses = [math.exp(score) for score in scores]
    return [mass / sum(masses) for mass in masses]


def scalar_scores(model, q, places):
    """As the papers write it, number by number."""
    W = model.W.tolist()
    if isinstance(model, DotAttention):
        return [sum(q[i] * W[i][j] * k[j] for i in range(Q) for j in range(K)) for k in places]
    U, b, v = model.U.tolist(), model.b.tolist(), model.v.tolist()
    return [
        sum(
            v[a] * math.tanh(sum(W[a][i] * q[i] for i in range(Q)) + sum(U[a][j] * k[j] for j in range(K)) + b[a])
            for a in range(len(v))
        )
        for k in places
    ]


@pytest.mark.parametrize("kind", [DotAttention(Q, K), AdditiveAttention(Q, K, A)], ids=lambda m: type(m).__name__)
def test_numbers_are_those_of_the_papers(kind):
    model, (queries, places) = kind.double(), some()
    if isinstance(model, AdditiveAttention):
        torch.nn.init.normal_(model.b)
    context, weights = model(queries, model.memory(places, LENGTHS))
    for t in range(T):
        for row, length in enumerate(LENGTHS.tolist()):
            seen = places[:length, row].tolist()
            expected = softmax(scalar_scores(model, queries[t, row].tolist(), seen))
            mean = [sum(a * k[j] for a, k in zip(expected, seen, strict=True)) for j in range(K)]
            assert weights[t, row, :length].tolist() == pytest.approx(expected, rel=TOLERANCES[torch.float64]["rtol"])
            assert context[t, row].tolist() == pytest.approx(mean, rel=TOLERANCES[torch.float64]["rtol"])


@every
def test_weights_sum_to_one_and_are_zero_past_the_end(name):
    model, (queries, places) = make(name), some()
    _, weights = model(queries, model.memory(places, LENGTHS))
    assert weights.shape == (T, B, S)
    torch.testing.assert_close(weights.sum(-1), torch.ones(T, B).double(), **TOLERANCES[torch.float64])
    past = torch.arange(S) >= LENGTHS.unsqueeze(1)
    assert (weights[:, past] == 0).all()
    assert (weights[:, ~past] > 0).all()


@every
def test_padding_is_never_seen_whatever_it_holds(name, close, gradients):
    model, (queries, places) = make(name), some()
    worse = places.clone()
    worse[1:, 1] = torch.nan
    clean, dirty = (model(queries, model.memory(p, LENGTHS)) for p in (places, worse))
    close(dirty, clean)
    close(gradients(dirty, list(model.parameters())), gradients(clean, list(model.parameters())))
    short = model(queries[:, 1:2], model.memory(places[:1, 1:2]))
    close(short[0], clean[0][:, 1:2])


@every
def test_one_query_is_one_step_of_many(name, close):
    model, (queries, places) = make(name), some()
    memory = model.memory(places, LENGTHS)
    context, weights = model(queries, memory)
    for t in range(T):
        close(model(queries[t], memory), (context[t], weights[t]))


@every
def test_rows_of_a_memory_can_be_selected(name, close):
    model, (queries, places) = make(name), some()
    memory, rows = model.memory(places, LENGTHS), torch.tensor([2, 2, 0])
    context, weights = model(queries, memory)
    close(model(queries[:, rows], select(memory, rows)), (context[:, rows], weights[:, rows]))


@every
def test_gradients_reach_everything(name):
    model, (queries, places) = make(name), some()
    context, weights = model(queries.requires_grad_(), model.memory(places.requires_grad_(), LENGTHS))
    (context.square().sum() + weights.square().sum()).backward()
    assert all((p.grad != 0).any() for p in [queries, *model.parameters()])
    seen = torch.arange(S).unsqueeze(1) < LENGTHS
    assert (places.grad[seen] != 0).all()
    assert (places.grad[~seen] == 0).all()


def test_pieces_of_time_change_nothing_but_memory(close, gradients, monkeypatch, largest_tensor):
    model, (queries, places) = make("additive"), some()
    results, largest = [], []
    for at_once in (T * S * B * Q, 2 * S * B * Q):
        monkeypatch.setattr(attention, "SCORES_AT_ONCE", at_once)
        with largest_tensor() as watch:
            result = model(queries, model.memory(places, LENGTHS))
            results.append((result, gradients(result, list(model.parameters()))))
        largest.append(watch.numel)
    close(*results)
    assert largest == [T * S * B * Q, 2 * S * B * Q]


@every
def test_places_of_another_size(name):
    with pytest.raises(ShapeError, match=rf"\(S, B, {K}\)"):
        make(name).memory(torch.zeros(S, B, K + 1).double())
