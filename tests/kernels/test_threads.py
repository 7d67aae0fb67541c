"""Threads that share rows, threads that share channels, and several Python threads at once, give what one gives."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from kernel_cases import (
    FLOAT32,
    FLOAT64,
    assert_like_reference,
    assert_same,
    everything,
    inputs_for,
    is_equal,
    make,
    masks_for,
    state_for,
    values,
)
from torch import nn

from recurra.engine.llvm.team import Team, team
from recurra.engine.native import script, walk

NAMES = ["lstm", "jordan", "slstm-4-heads", "gru-layernorm", "sru"]
ROWS = {"few-rows": 3, "many-rows": 37}  # the first share channels, the second rows


@pytest.fixture(autouse=True)
def _share_even_a_little_work(monkeypatch, new_plans):
    monkeypatch.setattr(walk, "SMALL", 0)


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_threads_share_the_work(threads, name, count, rows):
    cell = make(name, hidden_size=17)
    inputs, state, masks = inputs_for(cell, 6, rows), state_for(cell, rows), masks_for(6, rows, "lengths", "reset")
    alone = everything(cell, inputs, state, **masks, backend="llvm")
    threads(count)
    together = everything(cell, inputs, state, **masks, backend="llvm")
    assert_same(together, alone)
    assert_same(together, everything(cell, inputs, state, **masks, backend="loop"))


@pytest.mark.parametrize("name", ["lstm", "jordan", "slstm-4-heads"])
def test_threads_share_channels_where_matrices_are_large(monkeypatch, threads, name):
    monkeypatch.setattr(walk, "MATRICES_BYTES", 0)
    threads(2)
    cell = make(name, hidden_size=17)
    assert_like_reference(cell, inputs_for(cell, 6, 37), state_for(cell, 37), **masks_for(6, 37, "lengths", "reset"))


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", ["lstm", "gru-layernorm", "slstm-4-heads"])
def test_equal_runs_have_equal_bits(threads, name, count, rows):
    threads(count)
    cell = make(name, hidden_size=33, dtype=FLOAT32)
    inputs, state = inputs_for(cell, 20, rows), state_for(cell, rows)
    first = everything(cell, inputs, state, backend="llvm")
    assert all(is_equal(everything(cell, inputs, state, backend="llvm"), first) for _ in range(5))


@pytest.mark.parametrize("rows", [1, 2])
def test_more_threads_than_rows_or_channels(threads, rows):
    threads(4)
    for name in ("lstm", "gru-layernorm", "sru"):
        cell = make(name, hidden_size=2)
        assert_like_reference(cell, inputs_for(cell, 3, rows), state_for(cell, rows))


class DelayLine(nn.Module):
    """The last inputs, side by side: no product, and channels that change places."""

    def __init__(self):
        super().__init__()
        self.decay = nn.Parameter(torch.rand(248, dtype=FLOAT64))
        self.input_size = 8

    def step(self, x, state):
        line = torch.cat([state[0][:, 8:] * self.decay, x], 1)
        return line, (line,)

    def zero_state(self, batch):
        return (self.decay.new_zeros(batch, 256),)


class RunningMean(nn.Module):
    """The mean of all inputs so far: all channels read one that counts."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.rand(512, dtype=FLOAT64))
        self.input_size = 512

    def step(self, x, state):
        mean, count = state
        count = count + 1
        mean = mean + (x * self.gain - mean) / count
        return mean, (mean, count)

    def zero_state(self, batch):
        return self.gain.new_zeros(batch, 512), self.gain.new_zeros(batch, 1)


@pytest.mark.parametrize("kind", [DelayLine, RunningMean])
def test_threads_wait_where_channels_meet_without_a_product(threads, kind):
    threads(2)
    cell = kind()
    assert_like_reference(cell, inputs_for(cell, 20, 3), cell.zero_state(3))
    inputs = inputs_for(cell, 1000, 3)
    with torch.no_grad():
        expected = values(cell, inputs, cell.zero_state(3), backend="loop")
        for _ in range(5):
            assert_same(values(cell, inputs, cell.zero_state(3), backend="llvm"), expected)


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("name", ["lstm", "gru-layernorm", "sru"])
def test_threads_of_python_do_where_there_is_no_openmp(monkeypatch, new_process, threads, name, rows):
    monkeypatch.setattr(script, "team", Team)
    cell = make(name, hidden_size=17)
    for count in (1, 2, 3):
        threads(count)
        assert_like_reference(cell, inputs_for(cell, 5, rows), state_for(cell, rows))


def test_torchs_own_openmp_is_found():
    assert team()._fork is not None, "torch on Linux comes with OpenMP"


@pytest.mark.parametrize("is_new", [True, False], ids=["first-calls", "later-calls"])
@pytest.mark.parametrize("count", [1, 2])
def test_several_scans_at_once(request, threads, count, is_new):
    names = ["lstm", "gru", "jordan", "slstm-4-heads", "gru-layernorm", "sru"]
    cells = {name: make(name) for name in names}
    jobs = [(name, rows) for rows in (3, 20) for name in names] * 2
    given = {(n, rows): (inputs_for(cells[n], 7, rows), state_for(cells[n], rows)) for n, rows in jobs}
    expected = {(n, rows): everything(cells[n], *given[n, rows], backend="loop") for n, rows in jobs}
    if is_new:
        request.getfixturevalue("new_process")
    else:
        for job in given:
            everything(cells[job[0]], *given[job], backend="llvm")

    def work(job):
        torch.set_num_threads(count)
        return job, everything(cells[job[0]], *given[job], backend="llvm")

    with ThreadPoolExecutor(4) as pool:
        for job, found in pool.map(work, jobs):
            assert_same(found, expected[job])
