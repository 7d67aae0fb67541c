import numpy as np
import pytest
import torch

from recurra.errors import ConfigError
from recurra.layers.pooling import POOLINGS
from recurra.nn import Pooling

T, B, O = 6, 4, 6
LENGTHS = torch.tensor([3, T, 1, 5])


def some_outputs():
    return torch.randn(T, B, O, dtype=torch.float64)


def pooling(names, **options):
    return Pooling(names, O, **options).double()


def by_hand(name, row, part, both_ways):
    """One row's valid steps (T_b, O), by loops over numbers."""
    steps = len(row)
    if name == "last":
        half = O // 2 if both_ways else O
        return [row[-1][o] if o < half else row[0][o] for o in range(O)], None
    if name == "mean":
        return [sum(row[t][o] for t in range(steps)) / steps for o in range(O)], None
    if name == "max":
        return [max(row[t][o] for t in range(steps)) for o in range(O)], None
    W, b, v = (p.detach().numpy() for p in (part.key.weight, part.key.bias, part.query.weight[0]))
    keys = [[np.tanh(sum(W[k][o] * row[t][o] for o in range(O)) + b[k]) for k in range(O)] for t in range(steps)]
    scores = [np.exp(sum(v[k] * keys[t][k] for k in range(O))) for t in range(steps)]
    weights = [score / sum(scores) for score in scores]
    return [sum(weights[t] * row[t][o] for t in range(steps)) for o in range(O)], weights


@pytest.mark.parametrize("both_ways", [False, True], ids=["forwards", "both ways"])
@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_is_what_its_loop_gives(name, both_ways, close):
    pool, outputs = pooling(name, both_ways=both_ways), some_outputs()
    found, weights = pool(outputs, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        expected, expected_weights = by_hand(name, outputs[:length, row].numpy(), pool.parts[0], both_ways)
        close(found[row], torch.tensor(np.array(expected)))
        if expected_weights is None:
            assert weights is None
        else:
            close(weights[:length, row], torch.tensor(np.array(expected_weights)))
            assert (weights[length:, row] == 0).all()


@pytest.mark.parametrize("name", POOLINGS)
def test_what_lies_past_a_rows_end_does_not_matter(name, close):
    pool, outputs = pooling(name), some_outputs()
    longer = torch.cat([outputs, torch.zeros(3, B, O, dtype=torch.float64)])
    for row, length in enumerate(LENGTHS.tolist()):
        longer[length:, row] = 1e6
    longer.requires_grad_()
    found, _ = pool(longer, LENGTHS)
    close(found, pool(outputs, LENGTHS)[0])
    (seen,) = torch.autograd.grad(found.sum(), longer)
    for row, length in enumerate(LENGTHS.tolist()):
        assert (seen[length:, row] == 0).all()
        assert (seen[:length, row] != 0).any()


def test_several_stand_side_by_side(close):
    outputs = some_outputs()
    pool = pooling("max+attention+last", both_ways=True)
    found, weights = pool(outputs, LENGTHS)
    parts = [part(outputs, LENGTHS) for part in pool.parts]
    close(found, torch.cat([pooled for pooled, _ in parts], -1))
    close(weights, parts[1][1])
    assert pool.output_size == found.shape[-1] == 3 * O


def test_gradients_reach_the_query():
    pool, outputs = pooling("attention"), some_outputs()
    (pool(outputs, LENGTHS)[0] ** 2).sum().backward()
    assert all((p.grad != 0).any() for p in pool.parameters())


@pytest.mark.parametrize(
    ("names", "message"), [("men", "did you mean 'mean'"), ("mean+mean", "twice"), ("mean+", "unknown pooling ''")]
)
def test_names_that_cannot_be(names, message):
    with pytest.raises(ConfigError, match=message):
        pooling(names)
