from functools import partial

import pytest
import torch
from torch import nn

from recurra import cells
from recurra.engine import scan
from recurra.errors import ConfigError
from recurra.nn import LockedDropout, Zoneout, embedding_dropout, weight_drop
from recurra.state import map_leaves

T, B, I, H = 6, 3, 3, 5
FLOAT64 = {"dtype": torch.float64}


def assert_share(mask, p):
    """The share of true entries is p, within five standard deviations of independent draws."""
    assert abs(mask.double().mean() - p) < 5 * (p * (1 - p) / mask.numel()) ** 0.5


def test_locked_dropout_draws_one_mask_for_all_time():
    p, ones = 0.3, torch.ones(T, 100, 200, **FLOAT64)
    dropped = LockedDropout(p)(ones)
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert set(dropped.unique().tolist()) == {0.0, 1 / (1 - p)}  # so the expectation is kept
    assert_share(dropped[0] == 0, p)
    assert not torch.equal(dropped[0, 0], dropped[0, 1])


def test_locked_dropout_is_the_identity_in_evaluation_and_at_zero():
    x = torch.randn(T, B, I)
    assert LockedDropout(0.5).eval()(x) is x
    assert LockedDropout(0.0)(x) is x


def test_embedding_dropout_drops_whole_words():
    p, embedding = 0.3, nn.Embedding(2000, 4, **FLOAT64)
    tokens = torch.arange(2000).repeat(3, 1)
    embedded = embedding_dropout(embedding, tokens, p)
    assert torch.equal(embedded[0], embedded[1])
    gone = (embedded[0] == 0).all(-1)
    assert torch.equal(gone, (embedded[0] == 0).any(-1))
    assert_share(gone, p)
    assert torch.equal(embedded[0, ~gone], embedding.weight[~gone] * (1 / (1 - p)))
    embedded.sum().backward()
    assert torch.equal((embedding.weight.grad == 0).all(-1), gone)


def test_embedding_dropout_in_evaluation_and_at_zero():
    embedding, tokens = nn.Embedding(10, 4), torch.randint(10, (T, B))
    for result in (embedding_dropout(embedding, tokens, 0.5, training=False), embedding_dropout(embedding, tokens, 0)):
        assert torch.equal(result, embedding(tokens))


CELLS = {
    name: lambda build=build: build(I, H, **FLOAT64)
    for name, build in {
        "elman": cells.Elman,
        "gru": cells.GRU,
        "indrnn": cells.IndRNN,
        "jordan": cells.Jordan,
        "lstm": cells.LSTM,
        "lstm-layernorm": cells.LayerNormLSTM,
        "lstm-mogrifier": partial(cells.MogrifierLSTM, rounds=2),
        "mgu": cells.MGU,
        "slstm": partial(cells.SLSTM, heads=H),
    }.items()
}


@pytest.mark.parametrize("name", CELLS)
def test_weight_drop_computes_with_kept_weights_and_sends_gradient_to_them_alone(name, close, gradients):
    p, cell = 0.4, CELLS[name]()
    start = map_leaves(torch.randn_like, cell.zero_state(B))
    view = weight_drop(cell, p)
    kept = view.weight_hh_l0 != 0
    assert 0 < kept.sum() < kept.numel()
    close(view.weight_hh_l0, cell.weight_hh_l0 * kept / (1 - p))
    (gradient,) = gradients(scan(view, torch.randn(T, B, I, **FLOAT64), start), [cell.weight_hh_l0])
    assert torch.equal(gradient != 0, kept)


def test_weight_drop_draws_a_share_p_anew_for_each_view():
    p, cell = 0.4, cells.LSTM(I, 50)
    first, second = weight_drop(cell, p), weight_drop(cell, p)
    assert_share(first.U == 0, p)
    assert not torch.equal(first.U, second.U)
    assert (cell.U != 0).all()
    assert first.W is cell.W


def test_weight_drop_in_evaluation_and_at_zero_is_the_cell():
    cell = cells.LSTM(I, H)
    assert weight_drop(cell, 0.5, training=False) is cell
    assert weight_drop(cell, 0.0) is cell


def test_weight_drop_needs_a_recurrent_weight():
    for cell in (cells.MinGRU(I, H), cells.MinLSTM(I, H), cells.RGLRU(I, H), cells.SRU(I, H), nn.Linear(I, H)):
        with pytest.raises(ConfigError, match="recurrent weight"):
            weight_drop(cell, 0.5)


@pytest.mark.parametrize("name", CELLS)
def test_zoneout_mixes_old_and_new_by_its_masks(name, close):
    inner = CELLS[name]()
    cell, x = Zoneout(inner, 0.5), torch.randn(B, I, **FLOAT64)
    old = map_leaves(torch.randn_like, cell.zero_state(B))
    masks = map_leaves(lambda leaf: torch.rand_like(leaf).round(), old)
    _, fresh = inner.step(x, old)
    output, new = cell.step((x, masks), old)
    close(new, map_leaves(lambda m, a, b: torch.where(m.bool(), a, b), masks, old, fresh))
    assert output is new[0]  # the visible part is the zoned-out one


@pytest.mark.parametrize("training", [True, False])
def test_a_step_without_masks_takes_their_expectation(training, close):
    inner = cells.LSTM(I, H, **FLOAT64)
    cell, x = Zoneout(inner, 0.1, c=0.5).train(training), torch.randn(B, I, **FLOAT64)
    old = map_leaves(torch.randn_like, cell.zero_state(B))
    _, fresh = inner.step(x, old)
    _, new = cell.step(x, old)
    close(new, cells.LSTMState(0.1 * old.h + 0.9 * fresh.h, 0.5 * old.c + 0.5 * fresh.c))


def test_zoneout_draws_each_step_row_and_leaf_by_itself():
    cell = Zoneout(cells.LSTM(I, 40), h=0.2, c=0.6)
    x = torch.randn(20, 30, I)
    given, masks = cell.draw(x)
    assert given is x
    for leaf, p in ((masks.h, 0.2), (masks.c, 0.6)):
        assert leaf.shape == (20, 30, 40)
        assert_share(leaf == 1, p)
        assert_share(leaf == 0, 1 - p)
        assert_share((leaf[1:] == 1) & (leaf[:-1] == 1), p * p)
        assert_share((leaf[:, 1:] == 1) & (leaf[:, :-1] == 1), p * p)


def test_zoneout_at_evaluation_is_the_expected_mask(close):
    cell, x = Zoneout(cells.LSTM(I, H, **FLOAT64), 0.3).eval(), torch.randn(T, B, I, **FLOAT64)
    before = torch.get_rng_state()
    close(scan(cell, cell.draw(x)), scan(cell, x))
    assert torch.equal(before, torch.get_rng_state())


def test_zoneout_at_zero_is_the_cell(close):
    inner, x = cells.LSTM(I, H, **FLOAT64), torch.randn(T, B, I, **FLOAT64)
    cell = Zoneout(inner)
    close(scan(cell, cell.draw(x)), scan(inner, x))


def test_zoneout_keeps_a_state_entry_for_good_where_the_mask_is_one():
    cell, x = Zoneout(cells.LSTM(I, H), 0.5), torch.randn(T, B, I)
    start = map_leaves(torch.randn_like, cell.zero_state(B))
    masks = map_leaves(lambda leaf: torch.ones(T, *leaf.shape), start)
    outputs, end = scan(cell, (x, masks), start)
    assert torch.equal(end.h, start.h)
    assert torch.equal(end.c, start.c)
    assert torch.equal(outputs, start.h.expand(T, B, H))


def test_probabilities_and_names_are_checked():
    for p in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="probability"):
            LockedDropout(p)
        with pytest.raises(ConfigError, match="probability"):
            Zoneout(cells.LSTM(I, H), c=p)
        with pytest.raises(ConfigError, match="probability"):
            weight_drop(cells.LSTM(I, H), p)
        with pytest.raises(ConfigError, match="probability"):
            embedding_dropout(nn.Embedding(2, 2), torch.tensor([0]), p)
    with pytest.raises(ConfigError, match="no leaf 'memory'"):
        Zoneout(cells.LSTM(I, H), memory=0.5)
