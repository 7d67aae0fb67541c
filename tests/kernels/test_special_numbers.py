"""NaN, infinities and denormal numbers come out of a compiled loop as they come out of the reference."""

import math

import pytest
import torch
from kernel_cases import DTYPE_NAMES, DTYPES, assert_same, everything, inputs_for, make, state_for, values

from recurra.state import fork, named_leaves

CELLS = ["lstm", "gru", "rnn", "rnn-relu", "slstm", "lstm-layernorm"]
NUMBERS = {
    "nan": lambda dtype: math.nan,
    "inf": lambda dtype: math.inf,
    "-inf": lambda dtype: -math.inf,
    "largest": lambda dtype: torch.finfo(dtype).max,
    "huge": lambda dtype: 1e4,
    "denormal": lambda dtype: torch.finfo(dtype).smallest_normal / 8,
    "-0": lambda dtype: -0.0,
}


def place(where, number, cell):
    """Inputs and state, with the number in one of them, or in the cell."""
    inputs, state = inputs_for(cell, 5, 4), fork(state_for(cell, 4))
    with torch.no_grad():
        if where == "inputs":
            inputs[1, 2, 0] = number
        elif where == "state":
            for leaf in named_leaves(state).values():
                leaf[1, -1] = number
        else:
            dict(cell.named_parameters())[where].view(-1)[3] = number
    return inputs, state


def compare(cell, inputs, state, run):
    found, expected = (run(cell, inputs, state, backend=backend) for backend in ("llvm", "loop"))
    for name, there in expected.items():
        for which in (torch.isnan, torch.isposinf, torch.isneginf):
            assert torch.equal(which(found[name]), which(there)), f"{name}: {which.__name__}"
    finite = [{n: x.nan_to_num(0.0, 0.0, 0.0) for n, x in result.items()} for result in (found, expected)]
    assert_same(*finite)


@pytest.mark.parametrize("where", ["inputs", "state", "weight_hh_l0"])
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_NAMES)
@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_final_state(name, dtype, number, where):
    if (name, number, where) == ("lstm-layernorm", "largest", "weight_hh_l0"):
        pytest.skip("whether the variance overflows depends on the order of the sum")
    cell = make(name, dtype=dtype)
    inputs, state = place(where, NUMBERS[number](dtype), cell)
    with torch.no_grad():
        compare(cell, inputs, state, values)


@pytest.mark.parametrize("where", ["inputs", "state"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "huge", "denormal"])
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_NAMES)
@pytest.mark.parametrize("name", CELLS)
def test_gradients(name, dtype, number, where):
    cell = make(name, dtype=dtype)
    inputs, state = place(where, NUMBERS[number](dtype), cell)
    compare(cell, inputs, state, everything)


@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_NAMES)
@pytest.mark.parametrize("name", CELLS)
def test_denormal_numbers_throughout(name, dtype):
    cell = make(name, dtype=dtype)
    tiny = torch.finfo(dtype).smallest_normal / 4
    state = state_for(cell, 4)
    state = type(state)(*(torch.full_like(leaf, tiny) for leaf in state))
    with torch.no_grad():
        for parameter_name, parameter in cell.named_parameters():
            if "bias" in parameter_name:
                parameter.fill_(tiny)
        compare(cell, torch.full_like(inputs_for(cell, 3, 4), tiny), state, values)


@pytest.mark.parametrize("name", ["lstm", "slstm", "gru-layernorm"])
def test_numbers_of_one_row_stay_in_it(name):
    cell = make(name)
    inputs, state = inputs_for(cell, 5, 9), state_for(cell, 9)
    with torch.no_grad():
        clean = values(cell, inputs, state, backend="llvm")
        inputs[2, 4] = math.nan
        found = values(cell, inputs, state, backend="llvm")
    others = torch.arange(9) != 4
    for key, leaf in found.items():
        axis = 1 if key == "outputs" else 0
        rows = leaf.movedim(axis, 0)
        assert torch.equal(rows[others], clean[key].movedim(axis, 0)[others])
    assert found["outputs"][2:, 4].isnan().all()
