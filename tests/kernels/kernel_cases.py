"""What the tests of compiled loops share: the cells, what they are run on, and the comparison with the reference."""

from __future__ import annotations

from functools import partial

import torch

from recurra.cells import CELLS, GRU, LSTM, RGLRU, SLSTM, SRU, Elman, Jordan, MogrifierLSTM, ProjectedLSTM
from recurra.engine import scan
from recurra.nn import Zoneout
from recurra.state import from_named, map_leaves, named_leaves
from recurra.testing import TOLERANCES

FLOAT32, FLOAT64 = DTYPES = (torch.float32, torch.float64)
DTYPE_NAMES = ["float32", "float64"]

BOX = {
    **CELLS,
    "lstm-projected": lambda i, h, **o: ProjectedLSTM(i, h, max(1, h // 2), **o),
    "lstm-zoneout": lambda i, h, **o: Zoneout(LSTM(i, h, **o), c=0.5, h=0.1),
    "gru-zoneout": lambda i, h, **o: Zoneout(GRU(i, h, **o), 0.3),
    "lstm-no-bias": partial(LSTM, bias=False),
    "lstm-mogrifier-low-rank": partial(MogrifierLSTM, rounds=3, rank=2),
    "rnn-relu": partial(Elman, nonlinearity="relu"),
    "jordan-relu": lambda i, h, **o: Jordan(i, h, 2, output_nonlinearity="relu", **o),
    "slstm-4-heads": lambda i, h, **o: SLSTM(i, 4 * h, heads=4, **o),
    "sru-square": lambda i, h, **o: SRU(h, h, **o),
    "rglru-square": lambda i, h, **o: RGLRU(h, h, **o),
}


def make(name, input_size=3, hidden_size=5, dtype=FLOAT64):
    """A cell of the box in which no parameter has a value as simple as 0 or 1."""
    torch.manual_seed(0)
    cell = BOX[name](input_size, hidden_size, dtype=dtype)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
    return cell


def inputs_for(cell, steps=6, rows=3, seed=1):
    """Inputs (T, B, I) and, where the cell wants it, noise."""
    torch.manual_seed(seed)
    inner = getattr(cell, "cell", cell)
    x = torch.randn(steps, rows, inner.input_size, dtype=dtype_of(cell))
    return cell.draw(x) if hasattr(cell, "draw") else x


def state_for(cell, rows=3):
    """A state that has seen something, in all rows but the first."""
    with torch.no_grad():
        _, state = scan(cell, inputs_for(cell, 2, rows, seed=2), backend="loop")
        fresh = cell.zero_state(rows)
        return map_leaves(lambda new, old: torch.cat([new[:1], old[1:]]), fresh, state)


def masks_for(steps, rows, *names):
    """Those named of lengths and reset, with rows of no step, of one, and of all."""
    torch.manual_seed(3)
    lengths = torch.randint(0, steps + 1, (rows,))
    lengths[0] = steps
    reset = torch.rand(steps, rows) < 0.3
    return {name: value for name, value in {"lengths": lengths, "reset": reset}.items() if name in names}


def dtype_of(cell):
    return next(cell.parameters()).dtype


def leaf(tensor):
    return tensor.detach().clone().requires_grad_(tensor.is_floating_point())


def everything(cell, inputs, state, *, through=("outputs", "final"), **options):
    """All that a caller can see of a scan: outputs, final state, and the gradients of all that has one."""
    inputs = map_leaves(lambda x: x if x.requires_grad else leaf(x), inputs)
    state = map_leaves(leaf, state)
    outputs, final = scan(cell, inputs, state, **options)
    seen = {"outputs": outputs, **{f"final {name}": x for name, x in named_leaves(final).items()}}
    reached = [x for name, x in seen.items() if name.split()[0] in through and x.requires_grad]
    generator = torch.Generator().manual_seed(4)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in reached]
    wanted = {f"gradient of input {name}": x for name, x in named_leaves(inputs).items()}
    wanted |= {f"gradient of state {name}": x for name, x in named_leaves(state).items()}
    wanted |= {f"gradient of {name}": parameter for name, parameter in cell.named_parameters()}
    wanted = {name: x for name, x in wanted.items() if x.requires_grad}
    grads = torch.autograd.grad(reached, [*wanted.values()], weights, allow_unused=True, materialize_grads=True)
    return {name: x.detach() for name, x in seen.items()} | dict(zip(wanted, grads, strict=True))


def assert_same(found, expected, **tolerances):
    """Compare two results of `everything`, by the table of tolerances."""
    assert found.keys() == expected.keys()
    for name, there in expected.items():
        options = tolerances or TOLERANCES[there.dtype]
        torch.testing.assert_close(found[name], there, **options, msg=lambda text, name=name: f"{name}: {text}")


def assert_like_reference(cell, inputs, state, **options):
    """Compare the compiled loop with the reference by all that a caller can see."""
    found = everything(cell, inputs, state, **options, backend="llvm")
    assert_same(found, everything(cell, inputs, state, **options, backend="loop"))
    return found


def values(cell, inputs, state, **options):
    """Outputs and final state alone."""
    outputs, final = scan(cell, inputs, state, **options)
    return {"outputs": outputs, **{f"final {name}": x for name, x in named_leaves(final).items()}}


def tree_of(state, tensors):
    """A state like another of other tensors."""
    return from_named(state, dict(zip(named_leaves(state), tensors, strict=True)))


def is_equal(found, expected):
    return all(torch.equal(found[name], there) for name, there in expected.items())
