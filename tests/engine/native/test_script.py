"""Scripts: what each native command does, for every way in which threads share it."""

from __future__ import annotations

import pytest
import torch
from llvmlite import binding
from torch.testing import assert_close

from recurra.engine.llvm import commands
from recurra.engine.llvm.target import TARGETS
from recurra.engine.native import script as scripts
from recurra.engine.native.script import Matrix, Rows, ScriptWriter
from recurra.testing.tolerances import TOLERANCES

NEEDED = {"avx512": "avx512f", "avx2": "avx2", "sse": "sse2", "neon": "neon"}
KINDS = [(torch.float32, 1), (torch.float32, 2), (torch.float64, 3)]
SIZES = [(1, 1, 1), (1, 300, 7), (14, 16, 32), (15, 17, 33), (40, 600, 65), (230, 20, 31)]


@pytest.fixture(params=KINDS, ids=["float32-1", "float32-2", "float64-3"])
def kind(request):
    return request.param


def draw(*shape, dtype, turned=False):
    matrix = torch.randn(shape[::-1] if turned else shape, dtype=dtype)
    return matrix.t() if turned else matrix


def read(script, name, matrix):
    return Matrix(script.base(name), *matrix.stride())


@pytest.fixture(params=TARGETS)
def target(request, monkeypatch):
    if not binding.get_host_cpu_features().get(NEEDED[request.param], False):
        pytest.skip(f"this processor has no {NEEDED[request.param]}")
    monkeypatch.setattr(commands, "host_target", lambda: TARGETS[request.param])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
def test_products(target, kind, sizes, turned):
    (dtype, threads), (m, k, n) = kind, sizes
    left, right = draw(m, k, dtype=dtype, turned=turned), draw(k, n, dtype=dtype, turned=not turned) / k
    goal = torch.full((m, n + 3), float("nan"), dtype=dtype)
    script = ScriptWriter(dtype, threads, by_rows=False)
    packed = script.pack(read(script, "right", right), k, n)
    script.wait()
    for adds in (False, True):
        script.multiply(read(script, "left", left), packed, Matrix(script.base("goal"), n + 3, 1), sizes, adds=adds)
        script.wait()
    script.finish().run({"left": left, "right": right, "goal": goal})
    assert_close(goal[:, :n], 2 * left @ right, **TOLERANCES[dtype])
    assert goal[:, n:].isnan().all()


@pytest.mark.parametrize("shape", [(1, 3), (5, 4), (3, 33), (2, 700)], ids=str)
def test_threads_do_their_own_rows_of_each_step(kind, shape):
    (dtype, threads), (steps, rows) = kind, shape
    x, weight = draw(steps * rows, 20, dtype=dtype), draw(20, 35, dtype=dtype)
    goal = torch.empty(steps * rows, 35, dtype=dtype)
    script = ScriptWriter(dtype, threads, by_rows=True)
    packed = script.pack(read(script, "weight", weight), 20, 35)
    script.wait()
    script.multiply(read(script, "x", x), packed, read(script, "goal", goal), (steps * rows, 20, 35), steps=steps)
    script.finish().run({"x": x, "weight": weight, "goal": goal})
    assert_close(goal, x @ weight, **TOLERANCES[dtype])


@pytest.mark.parametrize("shape", [(1, 3), (5, 4), (3, 33), (2, 900), (300, 3)], ids=str)
def test_threads_sum_up_their_own_rows(kind, shape):
    (dtype, threads), (steps, rows) = kind, shape
    count = steps * rows
    x, gradient = draw(count, 19, dtype=dtype), draw(count, 37, dtype=dtype)
    total = torch.empty(37, 19, dtype=dtype)
    script = ScriptWriter(dtype, threads, by_rows=True)
    size = script.packed_size(steps * -(-rows // threads), 19)
    own = Rows(steps, size, total.numel())
    parts, place = script.reserve(threads * total.numel()), script.reserve(threads * size)
    packed = script.pack(read(script, "x", x), count, 19, place, rows=own)
    left = read(script, "gradient", gradient).transposed
    script.multiply(left, packed, Matrix(parts, 19, 1), (37, count, 19), rows=own)
    script.wait()
    script.total(script.base("total"), parts, total.numel())
    script.finish().run({"x": x, "gradient": gradient, "total": total})
    assert_close(total, gradient.t() @ x, rtol=TOLERANCES[dtype]["rtol"], atol=count * TOLERANCES[dtype]["atol"])


def test_copies_zeros_and_sums_of_threads(kind):
    dtype, threads = kind
    source, copy, zeros = (torch.randn(7, 5, dtype=dtype) for _ in range(3))
    total = torch.full((6,), float("nan"), dtype=dtype)
    script = ScriptWriter(dtype, threads, by_rows=True)
    script.copy(script.base("copy"), script.base("source"), 7, 5)
    script.copy(script.base("zeros"), None, 7, 5)
    parts = script.reserve(6 * threads)
    script.clear(parts, 6)
    script.wait()
    script.total(script.base("total"), parts, 6)
    script.finish().run({"copy": copy, "source": source, "zeros": zeros, "total": total})
    assert torch.equal(copy, source)
    assert (zeros == 0).all()
    assert (total == 0).all()


def test_a_long_script_is_run_in_parts_between_which_python_listens(kind, monkeypatch):
    dtype, threads = kind
    monkeypatch.setattr(scripts, "MULTIPLY_ADDS", 1)
    x, weight = draw(8, 4, dtype=dtype), draw(4, 4, dtype=dtype)
    goals = [torch.empty(8, 4, dtype=dtype) for _ in range(3)]
    script = ScriptWriter(dtype, threads, by_rows=False)
    packed = script.pack(read(script, "weight", weight), 4, 4)
    script.wait()
    for n in range(3):
        script.pause()
        script.multiply(read(script, "x", x), packed, Matrix(script.base(("goal", n)), 4, 1), (8, 4, 4))
    finished = script.finish()
    finished.run({"x": x, "weight": weight} | {("goal", n): goal for n, goal in enumerate(goals)})
    assert len(finished.parts) == 3
    for goal in goals:
        assert_close(goal, x @ weight, **TOLERANCES[dtype])


def test_a_script_keeps_nothing_of_a_call(kind):
    dtype, threads = kind
    script = ScriptWriter(dtype, threads, by_rows=True)
    script.copy(script.base("goal"), script.base("source"), 3, 2)
    finished = script.finish()
    for _ in range(2):
        source, goal = torch.randn(3, 2, dtype=dtype), torch.empty(3, 2, dtype=dtype)
        finished.run({"source": source, "goal": goal})
        assert torch.equal(goal, source)
