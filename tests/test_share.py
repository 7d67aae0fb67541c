"""Rows of a batch that several processes read: every row once, and the same noise whoever draws it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurra.cells import LSTM
from recurra.errors import ShapeError
from recurra.layers import LockedDropout, Zoneout
from recurra.layers.regularisation import RowDropout
from recurra.share import Share, draw_rows, sharing


@given(st.integers(1, 9), st.integers(1, 40))
def test_every_row_is_counted_by_one_process(size, rows):
    shares = [Share.of(rank, size, rows) for rank in range(size)]
    assert [row for share in shares if share.counts for row in range(rows)[share.own]] == list(range(rows))
    counting = [share.size for share in shares if share.counts]
    assert max(counting) - min(counting) <= 1
    assert all(share.size >= 1 and share.rows == rows for share in shares)


@pytest.mark.parametrize(
    ("noise", "axis"),
    [
        (lambda rows: LockedDropout(0.5)(torch.ones(4, rows, 3)), 1),
        (lambda rows: RowDropout(0.5)(torch.ones(rows, 3)), 0),
        (lambda rows: Zoneout(LSTM(2, 3), 0.3).draw(torch.zeros(4, rows, 2))[1].h, 1),
        (lambda rows: Zoneout(LSTM(2, 3), 0.3).draw(torch.zeros(4, rows, 2))[1].c, 1),
    ],
)
def test_a_share_of_the_noise_is_that_of_its_rows(noise, axis):
    def drawn(rows):
        torch.manual_seed(1)
        return noise(rows), torch.rand(1)

    whole, after = drawn(7)
    for rank in range(3):
        share = Share.of(rank, 3, 7)
        with sharing(share):
            part, then = drawn(share.size)
        assert torch.equal(part, share.take(whole, axis))
        assert torch.equal(then, after)  # the generators of all stay alike


def test_other_rows_than_the_share_are_refused():
    with sharing(Share.of(0, 2, 7)), pytest.raises(ShapeError, match="noise was drawn for 7 rows, where this process"):
        draw_rows(torch.rand, 7, 0)
    assert draw_rows(torch.rand, 7, 0).shape == (7,)
