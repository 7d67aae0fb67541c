"""Compiled loops of all sizes, on inputs of all layouts, with and without gradients."""

import pytest
import torch
from kernel_cases import (
    DTYPE_NAMES,
    DTYPES,
    FLOAT32,
    FLOAT64,
    assert_like_reference,
    assert_same,
    everything,
    inputs_for,
    make,
    masks_for,
    state_for,
    tree_of,
    values,
)
from torch import nn

from recurra.engine import scan
from recurra.engine.native import walk
from recurra.state import map_leaves, named_leaves

SIZES = [  # cell, input size, hidden size, rows, steps, type
    ("lstm", 1, 1, 1, 1, FLOAT64),
    ("lstm", 7, 16, 2, 50, FLOAT32),
    ("lstm", 2, 17, 130, 2, FLOAT64),
    ("lstm", 40, 65, 7, 2, FLOAT32),
    ("gru", 20, 16, 130, 1, FLOAT64),
    ("gru", 3, 65, 1, 50, FLOAT32),
    ("rnn", 17, 3, 7, 1, FLOAT32),
    ("slstm", 3, 17, 33, 2, FLOAT64),
    ("slstm-4-heads", 3, 16, 7, 2, FLOAT32),
    ("lstm-layernorm", 3, 65, 33, 2, FLOAT64),
    ("lstm-projected", 3, 65, 7, 50, FLOAT64),
    ("sru", 3, 65, 130, 50, FLOAT64),
    ("sru-square", 16, 16, 1, 2, FLOAT32),
    ("rglru", 3, 17, 7, 50, FLOAT64),
    ("minlstm", 65, 1, 33, 2, FLOAT64),
]
MORE_SIZES = [
    ("gru", 5, 1, 33, 2, FLOAT32),
    ("gru", 1, 3, 2, 50, FLOAT64),
    ("rnn", 3, 33, 33, 50, FLOAT64),
    ("slstm-4-heads", 3, 9, 2, 50, FLOAT64),
    ("jordan", 3, 17, 130, 50, FLOAT64),
    ("jordan-relu", 3, 65, 2, 2, FLOAT64),
    ("lstm-layernorm", 3, 1, 7, 2, FLOAT64),
    ("gru-layernorm", 2, 16, 1, 50, FLOAT64),
    ("lstm-projected", 3, 2, 130, 2, FLOAT32),
    ("lstm-peephole", 20, 17, 2, 2, FLOAT64),
]


@pytest.mark.parametrize(
    "sizes",
    [*SIZES, *(pytest.param(sizes, marks=pytest.mark.slow) for sizes in MORE_SIZES)],
    ids=lambda sizes: "-".join(map(str, sizes)).replace("torch.", ""),
)
def test_all_sizes(sizes):
    name, inner, hidden, rows, steps, dtype = sizes
    cell = make(name, inner, hidden, dtype)
    assert_like_reference(cell, inputs_for(cell, steps, rows), state_for(cell, rows))


@pytest.mark.parametrize("name", ["lstm", "gru-layernorm", "lstm-projected", "slstm-4-heads"])
def test_every_number_of_rows_of_a_tile(name):
    cell = make(name, 3, 16, FLOAT64)
    for rows in range(1, 32):
        found, expected = (
            values(cell, inputs_for(cell, 2, rows), state_for(cell, rows), backend=backend)
            for backend in ("llvm", "loop")
        )
        assert_same(found, expected)


@pytest.mark.slow
def test_a_large_cell():
    cell = make("lstm", 400, 1150, FLOAT32)
    found, expected = (
        everything(cell, inputs_for(cell, 4, 10), state_for(cell, 10), backend=backend) for backend in ("llvm", "loop")
    )
    assert_same(found, expected, rtol=1e-3, atol=1e-4)  # sums of a thousand numbers


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "jordan"])
def test_a_long_sequence(name):
    cell = make(name, 2, 3, FLOAT64)
    assert_like_reference(cell, inputs_for(cell, 100_000, 1), state_for(cell, 1))


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
@pytest.mark.parametrize("masks", [(), ("lengths", "reset")], ids=["plain", "masks"])
@pytest.mark.parametrize(
    "name",
    [
        "lstm",
        "jordan",
        "slstm-4-heads",
        "gru-layernorm",
        pytest.param("lstm-mogrifier-low-rank", marks=pytest.mark.slow),
    ],
)
def test_time_in_many_pieces(monkeypatch, new_plans, name, masks, steps):
    monkeypatch.setattr(walk, "PIECE_BYTES", 1)
    monkeypatch.setattr(walk, "LEAST_ROWS", 1)
    cell = make(name)
    assert_like_reference(cell, inputs_for(cell, steps, 5), state_for(cell, 5), **masks_for(steps, 5, *masks))


LAYOUTS = {
    "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "features-first": lambda x: x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "strided": lambda x: torch.stack([x, x + 1], -1).flatten(-2)[..., ::2],
    "every-other-step": lambda x: torch.stack([x, x + 1], 1).flatten(0, 1)[::2],
    "expanded-rows": lambda x: x[:, :1].expand_as(x),
    "expanded-steps": lambda x: x[:1].expand_as(x),
    "expanded-features": lambda x: x[..., :1].expand_as(x),
    "flipped": lambda x: x.flip(0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["lstm", "sru-square", "jordan"])
def test_inputs_of_all_layouts(name, layout):
    cell = make(name, 5, 5)
    x = inputs_for(cell, 6, 5).requires_grad_()
    assert_like_reference(cell, LAYOUTS[layout](x), state_for(cell, 5))


@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded", "offset"])
def test_parameters_of_all_layouts(layout):
    cell = make("lstm")
    change = {
        "transposed": lambda w: w.t().contiguous().t() if w.ndim == 2 else w,
        "strided": lambda w: torch.stack([w, w + 1], -1).flatten(-2)[..., ::2],
        "expanded": lambda w: w[:1].expand_as(w),
        "offset": lambda w: torch.cat([w, w])[len(w) :],
    }[layout]
    changed = {name: change(value.detach()).requires_grad_() for name, value in cell.named_parameters()}
    view = cell.bind(**changed)
    assert_like_reference(view, inputs_for(cell), state_for(cell))


@pytest.mark.parametrize("layout", ["transposed", "slice", "expanded", "same-twice"])
def test_states_that_are_views(layout):
    cell = make("lstm")
    h, c = state_for(cell, 6)
    whole = torch.cat([h, c], 1).requires_grad_()
    state = {
        "transposed": lambda: tuple(whole.t().contiguous().t().chunk(2, 1)),
        "slice": lambda: (whole[:, :5], whole[:, 5:]),
        "expanded": lambda: (whole[:1, :5].expand(6, 5), whole[:1, 5:].expand(6, 5)),
        "same-twice": lambda: (whole[:, :5], whole[:, :5]),
    }[layout]
    x, found = inputs_for(cell, 6, 6), []
    for backend in ("llvm", "loop"):
        given = type(cell.zero_state(1))(*state())
        before = [leaf.clone() for leaf in given]
        outputs, final = scan(cell, x, given, backend=backend)
        loss = (outputs * outputs).sum() + final.h.sum() + (final.c * h).sum()
        gradients = torch.autograd.grad(loss, [whole, *cell.parameters()])
        found.append(dict(enumerate([outputs.detach(), *map(torch.detach, final), *gradients])))
        assert all(map(torch.equal, given, before))
    assert_same(*found)


FROZEN = {
    "inputs": lambda name: name.startswith("input"),
    "state": lambda name: name.startswith("state"),
    "U": lambda name: "weight_hh" in name,
    "W": lambda name: "weight_ih" in name,
    "biases": lambda name: "bias" in name,
    "weights": lambda name: "weight" in name,
    "all-parameters": lambda name: not name.startswith(("input", "state")),
    "all-but-U": lambda name: "weight_hh" not in name,
    "all-but-inputs": lambda name: not name.startswith("input"),
    "all-but-the-state": lambda name: not name.startswith("state"),
    "all-but-a-bias": lambda name: "bias_ih" not in name,
}


@pytest.mark.parametrize("frozen", FROZEN)
@pytest.mark.parametrize("name", ["lstm", "gru", "jordan", "slstm-4-heads", "gru-layernorm", "lstm-peephole"])
def test_gradients_of_some_alone(name, frozen):
    cell = make(name)
    tensors = {"input": inputs_for(cell)}
    tensors |= {f"state {leaf}": tensor.clone() for leaf, tensor in named_leaves(state_for(cell)).items()}
    tensors |= dict(cell.named_parameters())
    for key, tensor in tensors.items():
        tensor.requires_grad_(not FROZEN[frozen](key))
    wanted = {key: tensor for key, tensor in tensors.items() if tensor.requires_grad}
    state = tree_of(cell.zero_state(3), [tensor for key, tensor in tensors.items() if key.startswith("state")])
    found = []
    for backend in ("llvm", "loop"):
        outputs, final = scan(cell, tensors["input"], state, backend=backend)
        loss = outputs.square().sum() + sum(leaf.sum() for leaf in named_leaves(final).values())
        grads = torch.autograd.grad(loss, [*wanted.values()])
        found.append({"outputs": outputs.detach(), **dict(zip(wanted, grads, strict=True))})
    assert_same(*found)


@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_NAMES)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", ["lstm", "jordan"])
def test_without_gradients(new_plans, name, context, dtype):
    cell, masks = make(name, dtype=dtype), masks_for(6, 3, "lengths", "reset")
    for options in ({}, masks, {"reverse": True}):
        with context():
            inputs, state = inputs_for(cell), state_for(cell)
            found = values(cell, inputs, state, **options, backend="llvm")
            expected = values(cell, inputs, state, **options, backend="loop")
            assert not any(leaf.requires_grad for leaf in found.values())
            assert_same(found, expected)
    assert_like_reference(cell, map_leaves(torch.clone, inputs), state_for(cell))  # as ever afterwards


def test_a_cell_made_in_inference_mode(new_plans):
    with torch.inference_mode():
        cell = make("lstm")
        inputs, state = inputs_for(cell), state_for(cell)
        found, expected = (values(cell, inputs, state, backend=backend) for backend in ("llvm", "loop"))
        assert_same(found, expected)


@pytest.mark.parametrize("name", ["lstm", "jordan", "sru-square"])
def test_a_cell_in_two_layers_adds_its_gradients(name):
    cell = make(name, 5, 5)
    if name == "jordan":
        cell = make("jordan", 5, 5)
    x = inputs_for(cell, 6, 3).requires_grad_()
    found = []
    for backend in ("llvm", "loop"):
        middle, _ = scan(cell, x, backend=backend)
        outputs, final = scan(cell, middle.tanh(), reverse=True, backend=backend)
        loss = outputs.sum() + middle.square().sum() + sum(leaf.sum() for leaf in named_leaves(final).values())
        grads = torch.autograd.grad(loss, [x, *cell.parameters()])
        found.append(dict(enumerate([outputs.detach(), *grads])))
    assert_same(*found)


def test_cells_of_one_kind_keep_their_own_numbers():
    torch.manual_seed(5)
    layers = nn.ModuleList([make("gru", 5, 5), make("gru", 5, 5)])
    with torch.no_grad():
        layers[1].W.mul_(-2)
    x = inputs_for(layers[0], 6, 3)
    for cell in layers:
        assert_like_reference(cell, x, state_for(cell))


def test_weights_that_changed_are_read_again():
    cell = make("lstm")
    x, state = inputs_for(cell), state_for(cell)
    for _ in range(3):
        assert_like_reference(cell, x, state)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.sub_(0.1)


def test_a_scan_in_pieces_is_the_whole():
    cell = make("slstm-4-heads")
    x, state = inputs_for(cell, 9, 3), state_for(cell)
    whole, last = scan(cell, x, state, backend="llvm")
    pieces = []
    for piece in x.split([1, 3, 5]):
        outputs, state = scan(cell, piece, state, backend="llvm")
        pieces.append(outputs)
    assert_same(
        {"outputs": torch.cat(pieces), **named_leaves(state)},
        {"outputs": whole, **named_leaves(last)},
    )
