"""Compiled loops among torch's other tools: second derivatives, changes in place, torch.func, mixed precision."""

import threading

import pytest
import torch
from kernel_cases import assert_same, inputs_for, make, masks_for, state_for
from torch.func import functional_call, grad, jvp, vmap
from torch.utils.checkpoint import checkpoint

from recurra.engine import explain, scan
from recurra.errors import EngineError
from recurra.state import named_leaves
from recurra.testing import TOLERANCES

TWICE = ["lstm", "gru-original", "jordan", "slstm-4-heads", "gru-layernorm", "rglru-square", "lstm-zoneout"]


def loss_of(cell, x, state=None, *, backend, **options):
    outputs, final = scan(cell, x, state, **options, backend=backend)
    return outputs.square().sum() + sum(leaf.sum() for leaf in named_leaves(final).values())


@pytest.mark.parametrize("name", TWICE)
def test_gradients_of_gradients(name):
    masks = ("lengths", "reset") if name in ("lstm", "jordan") else ()
    cell = make(name)
    x, state, options = inputs_for(cell, 4, 3), state_for(cell), masks_for(4, 3, *masks)
    leaves = [leaf.clone().requires_grad_() for leaf in named_leaves(x).values()]
    inputs = leaves[0] if isinstance(x, torch.Tensor) else (leaves[0], x[1])
    found = []
    for backend in ("llvm", "loop"):
        loss = loss_of(cell, inputs, state, **options, backend=backend)
        sources = [leaves[0], *cell.parameters()]
        first = torch.autograd.grad(loss, sources, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), sources)
        found.append(dict(enumerate([*(g.detach() for g in first), *second])))
    assert_same(*found)


@pytest.mark.parametrize("name", ["lstm", "jordan"])
def test_gradgradcheck(name):
    cell = make(name, 2, 2)
    x = inputs_for(cell, 3, 2).requires_grad_()
    state = [leaf.clone().requires_grad_() for leaf in state_for(cell, 2)]

    def run(x, *rest):
        outputs, final = scan(cell, x, type(cell.zero_state(1))(*rest[: len(state)]), backend="llvm")
        return (outputs, *final)

    arguments = (x, *state, *cell.parameters())
    assert torch.autograd.gradcheck(run, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, arguments, fast_mode=True)


@pytest.mark.parametrize("masks", [(), ("lengths",)], ids=["plain", "lengths"])
@pytest.mark.parametrize("name", ["lstm", "jordan", "slstm"])
@pytest.mark.parametrize(
    "change",
    [lambda y: y.mul_(2), lambda y: y[1].zero_(), lambda y: y.detach().add_(1)],
    ids=["whole", "part", "alias"],
)
def test_outputs_modified_in_place_are_found_out(name, masks, change):
    cell = make(name)
    outputs, _ = scan(cell, inputs_for(cell), **masks_for(6, 3, *masks), backend="llvm")
    change(outputs)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_a_weight_modified_in_place_is_found_out():
    cell = make("lstm")
    outputs, _ = scan(cell, inputs_for(cell), backend="llvm")
    with torch.no_grad():
        cell.U.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


@pytest.mark.parametrize("name", ["lstm", "gru-layernorm"])
def test_a_final_state_may_be_modified(name):
    cell = make(name)
    x, found = inputs_for(cell), []
    for backend in ("llvm", "loop"):
        outputs, final = scan(cell, x, backend=backend)
        with torch.no_grad():
            final[0].zero_()
        found.append(dict(enumerate(torch.autograd.grad(outputs.sum(), [*cell.parameters()]))))
    assert_same(*found)


def test_backward_twice():
    cell = make("lstm")
    outputs, _ = scan(cell, inputs_for(cell), backend="llvm")
    loss = outputs.square().sum()
    parameters = [*cell.parameters()]
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    second = torch.autograd.grad(loss, parameters, retain_graph=True)
    assert all(map(torch.equal, first, second))
    torch.autograd.grad(loss, parameters)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(loss, parameters)


def test_gradients_that_arrive_in_odd_layouts():
    cell = make("jordan")
    x, found = inputs_for(cell), []
    for backend in ("llvm", "loop"):
        outputs, _ = scan(cell, x, backend=backend)
        odd = torch.arange(outputs.numel(), dtype=x.dtype).view(outputs.shape[::-1]).permute(2, 1, 0)
        for gradient in (odd, torch.ones((), dtype=x.dtype).expand_as(outputs), odd.flip(0)):
            grads = torch.autograd.grad(outputs, [*cell.parameters()], gradient, retain_graph=True)
            found.append(dict(enumerate(grads)))
    for ours, theirs in zip(found[:3], found[3:], strict=True):
        assert_same(ours, theirs)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own use of it
def test_functions_of_functions():
    cell = make("lstm")
    x = inputs_for(cell)
    parameters = {name: value.detach() for name, value in cell.named_parameters()}

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x):
            return scan(self.cell, x)[0]

    model = Wrapped()
    named = {f"cell.{name}": value for name, value in parameters.items()}

    def loss(named, x):
        return functional_call(model, named, x).square().sum()

    expected = torch.autograd.grad(loss_of(cell, x, backend="loop") - _state_sum(cell, x), [*cell.parameters()])
    found = grad(loss)(named, x)
    torch.testing.assert_close([*found.values()], [*expected], **TOLERANCES[x.dtype])

    value, tangent = jvp(lambda x: loss(named, x), (x,), (torch.ones_like(x),))
    (slope,) = torch.autograd.grad(loss(named, leaf := x.clone().requires_grad_()), leaf)
    torch.testing.assert_close(tangent, slope.sum(), **TOLERANCES[x.dtype])
    torch.testing.assert_close(value, loss(named, x), **TOLERANCES[x.dtype])

    many = torch.stack([x, x + 1, x * 2])
    with torch.no_grad():
        each = vmap(lambda x: scan(cell, x)[0])(many)
        torch.testing.assert_close(each, torch.stack([scan(cell, x)[0] for x in many]), **TOLERANCES[x.dtype])
    for single, x in zip(vmap(grad(loss), (None, 0))(named, many)["cell.weight_hh_l0"], many, strict=True):
        torch.testing.assert_close(single, grad(loss)(named, x)["cell.weight_hh_l0"], **TOLERANCES[x.dtype])


def _state_sum(cell, x):
    _, final = scan(cell, x, backend="loop")
    return sum(leaf.sum() for leaf in final)


def test_functional_call_gives_the_numbers_it_was_given():
    cell = make("gru")
    x = inputs_for(cell)
    scan(cell, x, backend="llvm")  # known by its own numbers

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x, backend):
            return scan(self.cell, x, backend=backend)[0]

    other = {f"cell.{name}": 2 * value.detach() for name, value in cell.named_parameters()}
    model = Wrapped()
    found, expected = (functional_call(model, other, (x, backend)) for backend in ("llvm", "loop"))
    torch.testing.assert_close(found, expected, **TOLERANCES[x.dtype])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "jordan"])
def test_short_numbers_go_another_way(name, dtype):
    cell = make(name).to(dtype)
    x = inputs_for(cell)
    with pytest.raises(EngineError, match="float32 or float64"):
        scan(cell, x, backend="llvm")
    assert explain(cell).path != "llvm"
    found, expected = (scan(cell, x, backend=backend)[0] for backend in ("auto", "loop"))
    assert found.dtype is dtype
    torch.testing.assert_close(found, expected, **TOLERANCES[dtype])


@pytest.mark.parametrize("is_known", [False, True], ids=["first-scan", "later-scan"])
@pytest.mark.parametrize("name", ["lstm", "gru", "jordan", "slstm"])
def test_mixed_precision(new_plans, name, is_known):
    cell = make(name, dtype=torch.float32)
    x = inputs_for(cell)
    if is_known:
        scan(cell, x)
    found = []
    for backend in ("auto", "loop"):
        with torch.autocast("cpu", torch.bfloat16):
            outputs, _ = scan(cell, x, backend=backend)
        found.append((outputs, *torch.autograd.grad(outputs.float().sum(), [*cell.parameters()])))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=5e-2, atol=5e-2)
    # what was made under autocast is not used without it
    torch.testing.assert_close(scan(cell, x)[0], scan(cell, x, backend="loop")[0], **TOLERANCES[torch.float32])


def by_checkpoint(cell, x, backend):
    outputs = checkpoint(lambda x: scan(cell, x, backend=backend)[0], x, use_reentrant=False)
    outputs.square().sum().backward()


def by_another_thread(cell, x, backend):
    loss = scan(cell, x, backend=backend)[0].square().sum()
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()


def by_packed_tensors(cell, x, backend):
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda tensor: tensor):
        loss = scan(cell, x, backend=backend)[0].square().sum()
    loss.backward()


@pytest.mark.parametrize("way", [by_checkpoint, by_another_thread, by_packed_tensors])
def test_gradients_on_other_ways(way):
    cell, found = make("lstm"), []
    for backend in ("llvm", "loop"):
        x = inputs_for(cell).requires_grad_()
        cell.zero_grad()
        way(cell, x, backend)
        found.append({name: leaf.grad.clone() for name, leaf in {"x": x, **dict(cell.named_parameters())}.items()})
    assert_same(*found)
