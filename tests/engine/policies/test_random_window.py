"""Windows of random length."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from recurra.cells import GRU
from recurra.engine import RandomWindow, scan


def lengths(policy, steps, seed=0):
    return [stop - start for start, _, stop in policy.spans(steps, np.random.default_rng(seed))]


def test_windows_cover_every_step_once():
    windows = list(RandomWindow(20).spans(1000, np.random.default_rng(0)))
    assert windows[0].start == 0
    assert windows[-1].stop == 1000
    assert all(a.stop == b.start == b.first for a, b in pairwise(windows))


def test_lengths_are_those_of_the_paper():
    found = np.array(lengths(RandomWindow(70), 3_000_000)[:-1])
    around, short = found[found > 52], found[found <= 52]
    assert abs(around.mean() - 70) < 0.2
    assert abs(around.std() - 5) < 0.2
    assert abs(len(short) / len(found) - 0.05) < 0.01
    assert abs(short.mean() - 35) < 1


def test_lengths_are_bounded():
    found = lengths(RandomWindow(10), 1_000_000)[:-1]
    assert min(found) == 5
    assert max(found) <= 30
    assert set(lengths(RandomWindow(3), 30)) == {3}


def test_a_scan_is_cut_where_torchs_seed_says():
    cell, x = GRU(2, 3), torch.randn(60, 1, 2, requires_grad=True)

    def first_seen(seed):
        torch.manual_seed(seed)
        outputs, _ = scan(cell, x, backprop=RandomWindow(20))
        return int(torch.autograd.grad(outputs[-1].sum(), x)[0].flatten(1).any(1).nonzero()[0])

    assert first_seen(0) == first_seen(0)
    assert len({first_seen(seed) for seed in range(5)}) > 1


@pytest.mark.parametrize(("steps", "rate"), [(70, 1.0), (35, 0.5)])
def test_the_learning_rate_follows_the_length(steps, rate):
    assert RandomWindow(70).rate(steps) == rate
