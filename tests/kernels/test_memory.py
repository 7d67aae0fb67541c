"""What compiled loops do with memory: they read what they wrote and write what is theirs, and give all of it back."""

import gc
import resource
from pathlib import Path

import pytest
import torch
from kernel_cases import (
    FLOAT32,
    FLOAT64,
    assert_same,
    everything,
    inputs_for,
    is_equal,
    make,
    masks_for,
    state_for,
    values,
)

from recurra.engine import plans, scan
from recurra.engine.llvm import compiler
from recurra.engine.native import loops, workspace
from recurra.engine.native import script as script_module
from recurra.engine.native.script import Script, ScriptWriter
from recurra.state import map_leaves

GUARD = 64  # numbers before and after each array, a multiple of every alignment
FENCED = ["lstm", "gru-original", "jordan-relu", "slstm-4-heads", "gru-layernorm", "sru"]


class Fences:
    """Arrays of NaN between fences of NaN."""

    def __init__(self):
        self.arrays = []

    def array(self, *size, dtype=None, **options):
        shape = torch.Size(size[0] if len(size) == 1 and not isinstance(size[0], int) else size)
        dtype = dtype or torch.get_default_dtype()
        if not dtype.is_floating_point:
            return torch.zeros(shape, dtype=dtype)
        whole = torch.full((shape.numel() + 2 * GUARD,), float("nan"), dtype=dtype)
        self.arrays.append(whole)
        return whole[GUARD : GUARD + shape.numel()].view(shape)

    def around(self, tensor):
        copy = self.array(tensor.shape, dtype=tensor.dtype)
        return copy.copy_(tensor.detach())

    def are_intact(self):
        return all(w[:GUARD].isnan().all() and w[-GUARD:].isnan().all() for w in self.arrays)


@pytest.fixture
def fences(monkeypatch):
    """Memory that torch gives out holds NaN and is fenced; none is used again."""
    found, empty_like = Fences(), torch.empty_like
    monkeypatch.setattr(workspace, "LARGE_BYTES", float("inf"))
    workspace.release()
    monkeypatch.setattr(torch, "empty", found.array)
    monkeypatch.setattr(
        torch,
        "empty_like",
        lambda tensor, **options: (
            empty_like(tensor, **options).fill_(float("nan"))
            if tensor.is_floating_point()
            else empty_like(tensor, **options)
        ),
    )
    return found


@pytest.mark.parametrize(
    ("dtype", "rows", "masks"), [(FLOAT32, 3, ()), (FLOAT64, 33, ("lengths", "reset"))], ids=["few-rows", "many-rows"]
)
@pytest.mark.parametrize("name", FENCED)
def test_nothing_is_read_before_it_is_written_nor_written_past_an_end(request, name, dtype, rows, masks):
    cell = make(name, dtype=dtype)
    inputs, state, options = inputs_for(cell, 4, rows), state_for(cell, rows), masks_for(4, rows, *masks)
    expected = everything(cell, inputs, state, **options, backend="llvm")
    fences = request.getfixturevalue("fences")
    bound = cell.bind(**{n: fences.around(p).requires_grad_() for n, p in cell.named_parameters()})
    inputs, state = fences.around(inputs).requires_grad_(), map_leaves(fences.around, state)
    before = len(fences.arrays)
    found = everything(bound, inputs, state, **options, backend="llvm")
    assert len(fences.arrays) > before
    assert fences.are_intact()
    assert is_equal(found, expected)
    plain = values(cell, inputs, state, **options, backend="llvm")
    assert fences.are_intact()
    assert_same(plain, {name: leaf for name, leaf in expected.items() if name in plain})


@pytest.mark.parametrize("name", ["lstm", "gru-layernorm", "slstm-4-heads"])
@pytest.mark.parametrize("rows", [3, 33])
def test_nothing_is_written_between_what_a_script_reserves(request, monkeypatch, new_plans, name, rows):
    reserve, finish, run = ScriptWriter.reserve, ScriptWriter.finish, Script.run
    gaps, arenas = {}, []

    def reserve_with_gaps(script, count):
        places = [reserve(script, part) for part in (GUARD, count, GUARD)]
        script.gaps = [*getattr(script, "gaps", []), *(place.offset // script.size for place in places[::2])]
        return places[1]

    def finish_with_gaps(script):
        finished = finish(script)
        gaps[finished] = script.gaps
        return finished

    class Arena(workspace.Loan):
        def __init__(self, *shape, dtype):
            super().__init__(*shape, dtype=dtype)
            arenas.append(self.tensor)

    def run_and_look(script, arrays):
        run(script, arrays)
        arena = arenas.pop()
        assert all(arena[start : start + GUARD].isnan().all() for start in gaps[script])

    cell = make(name)
    inputs, state = inputs_for(cell, 4, rows), state_for(cell, rows)
    request.getfixturevalue("fences")
    monkeypatch.setattr(ScriptWriter, "reserve", reserve_with_gaps)
    monkeypatch.setattr(ScriptWriter, "finish", finish_with_gaps)
    monkeypatch.setattr(Script, "run", run_and_look)
    monkeypatch.setattr(script_module, "Loan", Arena)
    everything(cell, inputs, state, backend="llvm")
    assert len(gaps) >= 2, "one script forward, and one backward"


@pytest.mark.parametrize("masks", [(), ("lengths",)], ids=["plain", "lengths"])
@pytest.mark.parametrize("name", ["lstm", "jordan", "slstm"])
def test_arrays_go_with_their_last_user(name, masks):
    cell = make(name)
    inputs, options = inputs_for(cell), masks_for(6, 3, *masks)
    scan(cell, inputs, **options, backend="llvm")[0].sum().backward()
    gc.collect()
    flags = gc.get_debug()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(3):
            outputs, final = scan(cell, inputs, **options, backend="llvm")
            outputs.sum().backward()
            outputs, final = scan(cell, inputs, **options, backend="llvm")
        del outputs, final
        gc.collect()
        kept = [type(thing) for thing in gc.garbage if issubclass(type(thing), torch.Tensor)]
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()
    assert kept == []


def scan_large(cell, steps=60):
    x = inputs_for(cell, steps, 20)
    outputs, _ = scan(cell, x, backend="llvm")
    return x, outputs


@pytest.fixture
def used_again(monkeypatch):
    """Memory of any size is used again."""
    monkeypatch.setattr(workspace, "LARGE_BYTES", 0)
    workspace.release()
    yield
    workspace.release()


def test_memory_of_inference_mode_serves_training(used_again):
    cell = make("lstm")
    with torch.inference_mode():
        scan_large(cell)
    everything(cell, inputs_for(cell, 60, 20), state_for(cell, 20), backend="llvm")


def test_memory_is_not_taken_from_a_scan_whose_gradient_is_still_to_come(used_again):
    cell = make("gru-layernorm")
    x, expected = inputs_for(cell, 6, 4), []
    for number in range(3):
        scan(cell, x * number, backend="llvm")[0].sum().backward()
        expected.append(cell.W.grad.clone())
        cell.zero_grad()
    later = [scan(cell, x * number, backend="llvm")[0].sum() for number in range(3)]
    for loss, gradient in zip(later, expected, strict=True):
        loss.backward(retain_graph=True)
        assert torch.equal(cell.W.grad, gradient)
        cell.zero_grad()
        loss.backward()
        assert torch.equal(cell.W.grad, gradient)
        cell.zero_grad()


def test_memory_comes_back_while_more_is_taken(used_again):
    loan = workspace.Loan(4, dtype=torch.float32)
    with workspace._lock:  # as when the garbage collector runs there
        del loan
    assert workspace.Loan(4, dtype=torch.float32).tensor.shape == (4,)


def test_memory_for_later_has_a_limit(used_again, monkeypatch):
    monkeypatch.setattr(workspace, "LIMIT_BYTES", 1000)
    loans = [workspace.Loan(100, dtype=torch.float32) for _ in range(5)]
    loans.clear()
    assert sum(memory.numel() * 4 for memory in workspace._free) <= 1000


def resident_bytes():
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell how much memory is in use")
def test_a_thousand_calls_leave_nothing_behind(monkeypatch):
    monkeypatch.setattr(loops, "KEPT", 4)
    cells = [make(name) for name in ("lstm", "gru", "jordan")]

    def run(calls):
        for number in range(calls):
            cell, rows, steps = cells[number % 3], 1 + number % 41, 1 + number % 13
            x = torch.randn(steps, rows, 3, dtype=torch.float64, requires_grad=number % 2 == 0)
            masks = masks_for(steps, rows, "lengths", "reset") if number % 4 == 3 else {}
            outputs, _ = scan(cell, x, **masks, backend="llvm")
            outputs.sum().backward()

    run(100)
    gc.collect()
    programs, known, objects, memory = (
        len(compiler._programs),
        len(plans._plans),
        len(gc.get_objects()),
        resident_bytes(),
    )
    run(1000)
    gc.collect()
    assert (len(compiler._programs), len(plans._plans)) == (programs, known)
    assert len(gc.get_objects()) < objects + 500
    assert resident_bytes() < memory + 32 * 2**20
