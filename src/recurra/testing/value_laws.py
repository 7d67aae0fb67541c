"""Laws on what a cell computes: states, rows, ends, resets, files."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recurra.engine import scan
from recurra.state import digest, load, named_leaves, save, select
from recurra.testing.case import Case, law, start
from recurra.testing.compare import assert_equal

__all__ = [
    "check_inputs_intact",
    "check_padding",
    "check_reset",
    "check_reverse",
    "check_rows",
    "check_save_and_load",
    "check_state_type",
]


@law("the state that comes out has the type of the state that goes in")
def check_state_type(cell: Any, case: Case) -> None:
    """Types, shapes and dtypes of all leaves are those of ``zero_state``, after any number of steps."""
    rows = case.inputs.shape[1]
    fresh = cell.zero_state(rows)
    state = fresh
    for x in case.inputs:
        output, state = cell.step(x, state)
        assert output.shape[:1] == (rows,), f"the output has shape {tuple(output.shape)}, expected ({rows}, features)"
        assert output.ndim == 2, f"the output has shape {tuple(output.shape)}, expected ({rows}, features)"
        assert _signature(state) == _signature(fresh), f"{_signature(fresh)} became {_signature(state)}"
    for leaf in named_leaves(fresh).values():
        assert leaf.shape[:1] == (rows,), f"the first axis of every leaf is the batch, but {tuple(leaf.shape)}"


@law("inputs are not mutated")
def check_inputs_intact(cell: Any, case: Case) -> None:
    """Neither a step nor a scan writes into its input or its state."""
    state = start(cell, case)
    before = digest((case.inputs, state))
    with torch.no_grad():
        cell.step(case.inputs[0], state)
        assert digest((case.inputs, state)) == before, "a step wrote into its input or state"
        scan(cell, case.inputs, state, lengths=case.lengths, reset=case.reset)
        assert digest((case.inputs, state)) == before, "a scan wrote into its inputs or state"


@law("rows are independent of each other")
def check_rows(cell: Any, case: Case) -> None:
    """Every row alone gives what it gives in company, fresh rows beside warm ones and in another order."""
    state, rows = start(cell, case), case.inputs.shape[1]
    with torch.no_grad():
        outputs, final = scan(cell, case.inputs, state)
        for chosen in (*torch.arange(rows).split(1), torch.arange(rows).flip(0)):
            some, moved = scan(cell, case.inputs[:, chosen], select(state, chosen))
            assert_equal(f"rows {chosen.tolist()} of {rows}: outputs", some, outputs[:, chosen])
            assert_equal(f"rows {chosen.tolist()} of {rows}: final state", moved, select(final, chosen))


@law("right padding changes nothing")
def check_padding(cell: Any, case: Case) -> None:
    """A row that ends early gives what it gives without padding, whatever stands there; its outputs end in zeros."""
    state = start(cell, case)
    times = torch.arange(len(case.inputs)).unsqueeze(1)
    inputs = torch.where((times < case.lengths).unsqueeze(-1), case.inputs, torch.full_like(case.inputs, 1e3))
    with torch.no_grad():
        outputs, final = scan(cell, inputs, state, lengths=case.lengths)
        for row, length in enumerate(case.lengths.tolist()):
            at = torch.tensor([row])
            alone, expected = select(state, at), select(state, at)
            if length:
                some, expected = scan(cell, inputs[:length, at], alone)
                assert_equal(f"row {row} of length {length}: outputs", outputs[:length, at], some)
            assert_equal(f"row {row} of length {length}: final state", select(final, at), expected)
            assert not outputs[length:, row].any(), f"row {row} of length {length} has outputs after its end"


@law("a reset at t is a fresh start at t")
def check_reset(cell: Any, case: Case) -> None:
    """After a reset a row gives what it gives from ``zero_state``; no state given means a fresh start of all rows."""
    state = start(cell, case)
    with torch.no_grad():
        outputs, final = scan(cell, case.inputs, state, reset=case.reset)
        for row in range(case.inputs.shape[1]):
            at = torch.tensor([row])
            pieces, alone = [], select(state, at)
            for t, x in enumerate(case.inputs[:, at]):
                output, alone = cell.step(x, cell.zero_state(1) if case.reset[t, row] else alone)
                pieces.append(output)
            assert_equal(f"row {row}: outputs", outputs[:, at], torch.stack(pieces))
            assert_equal(f"row {row}: final state", select(final, at), alone)
        everywhere = torch.zeros_like(case.reset)
        everywhere[0] = True
        outputs, final = scan(cell, case.inputs, state, reset=everywhere)
        expected, fresh = scan(cell, case.inputs)
        assert_equal("reset of all rows: outputs", outputs, expected)
        assert_equal("reset of all rows: final state", final, fresh)


@law("reading in reverse is flipping by hand")
def check_reverse(cell: Any, case: Case) -> None:
    """A reverse scan reads each row from its last valid step to its first; outputs stay with their inputs."""
    state = start(cell, case)
    with torch.no_grad():
        outputs, final = scan(cell, case.inputs, state, lengths=case.lengths, reverse=True)
        for row, length in enumerate(case.lengths.tolist()):
            at = torch.tensor([row])
            expected = select(state, at)
            if length:
                some, expected = scan(cell, case.inputs[:length, at].flip(0), expected)
                assert_equal(f"row {row} of length {length}: outputs", outputs[:length, at], some.flip(0))
            assert_equal(f"row {row} of length {length}: final state", select(final, at), expected)


@law("save and load are bit-identical")
def check_save_and_load(cell: Any, case: Case) -> None:
    """A state from a file has the same bits and goes on to give the same bits, as does a cell from its state_dict."""
    with torch.no_grad():
        _, state = scan(cell, case.history, start(cell, case))
        expected = scan(cell, case.inputs, state)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state.safetensors"
            save(state, path)
            restored = load(path, cell.zero_state(1))
        assert type(restored) is type(state), f"{type(state).__name__} came back as {type(restored).__name__}"
        assert digest(restored) == digest(state), "the state came back with other bits"
        assert digest(scan(cell, case.inputs, restored)) == digest(expected), "the restored state goes on differently"
        twin = copy.deepcopy(cell)
        for parameter in twin.parameters():
            parameter.zero_()
        twin.load_state_dict(cell.state_dict())
        assert digest(scan(twin, case.inputs, restored)) == digest(expected), "the restored cell computes other numbers"


def _signature(state: Any) -> Any:
    if isinstance(state, Tensor):
        return (str(state.dtype), tuple(state.shape))
    return (type(state).__name__, *(_signature(branch) for branch in state))
