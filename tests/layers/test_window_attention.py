"""Attention over a window of the past: its definition, its laws in any pieces, and its bounded memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from recurra import explain
from recurra.engine import Online, Unbiased, scan
from recurra.errors import BackpropError, ConfigError, ShapeError
from recurra.nn import WindowAttention
from recurra.state import map_leaves, named_leaves
from recurra.testing import check_cell
from recurra.testing.tolerances import TOLERANCES

H, E = 3, 2


def layer(window):
    torch.manual_seed(0)
    made = WindowAttention(H, E, window).double()
    torch.nn.init.constant_(made.b, 0.3)
    return made


def inputs(steps, rows=2, seed=1):
    return torch.randn(steps, rows, H + E, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, expected):
    torch.testing.assert_close(found, expected, **TOLERANCES[torch.float64])


def defined(attention, row, starts):
    """The equations of a row (T, H + E), step by step and place by place, as they are printed."""
    W, V, b = attention.W, attention.V, attention.b
    h, x = row[:, :H], row[:, H:]
    outputs = []
    for t in range(len(row)):
        start = max(s for s in range(t + 1) if s == 0 or starts[s])
        places = range(max(start, t - attention.window), t)
        scores = [torch.exp(h[t] @ W.T @ h[j] / H**0.5) for j in places]
        context = sum((s * x[j + 1] for s, j in zip(scores, places, strict=True)), torch.zeros(E).double())
        outputs.append(h[t] + V @ (context / (torch.exp(b) + sum(scores))))
    return torch.stack(outputs)


@pytest.mark.parametrize("window", [1, 3])
def test_every_law_of_cells(window):
    check_cell(lambda i, _: WindowAttention(i - E, E, window), input_size=H + E, examples=3)


@settings(max_examples=25, deadline=None)
@given(window=st.integers(1, 40), steps=st.integers(1, 90), cut=st.integers(1, 90), seed=st.integers(0, 99))
def test_any_pieces_give_what_is_defined(window, steps, cut, seed):
    """Windows shorter and longer than the text and than a block, fresh starts inside, and a state handed on."""
    attention, x = layer(window), inputs(steps, seed=seed)
    reset = torch.rand(steps, 2, generator=torch.Generator().manual_seed(seed)) < 0.1
    cut = min(cut, steps)
    outputs, state = scan(attention, x[:cut], reset=reset[:cut])
    pieces = [outputs]
    if cut < steps:
        outputs, state = scan(attention, x[cut:], state, reset=reset[cut:])
        pieces.append(outputs)
    expected = torch.stack([defined(attention, x[:, row], reset[:, row]) for row in range(2)], 1)
    close(torch.cat(pieces), expected)
    whole, end = scan(attention, x, reset=reset, backend="loop")
    close(whole, expected)
    for leaf, other in zip(state, end, strict=True):
        assert torch.equal(leaf, other)


@settings(max_examples=15, deadline=None)
@given(window=st.integers(1, 40), steps=st.integers(1, 70), seed=st.integers(0, 99))
def test_gradients_are_those_of_single_steps(window, steps, seed):
    """Into inputs, parameters and a warm state, and through the final one; with ends and fresh starts."""
    attention = layer(window)
    _, warm = scan(attention, inputs(5, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    masks = {
        "lengths": torch.randint(0, steps + 1, (2,), generator=generator),
        "reset": torch.rand(steps, 2, generator=generator) < 0.05,
    }
    results = []
    for backend in ("auto", "loop"):
        x = inputs(steps, seed=seed).requires_grad_()
        start = map_leaves(lambda leaf: leaf.detach().clone().requires_grad_(), warm)
        outputs, end = scan(attention, x, start, backend=backend, **masks)
        loss = sum((leaf * torch.arange(leaf.numel()).view_as(leaf).cos()).sum() for leaf in (outputs, end.h, end.x))
        results.append(torch.autograd.grad(loss, [x, start.h, start.x, *attention.parameters()], allow_unused=True))
    for found, expected in zip(*results, strict=True):
        zeros = torch.zeros((), dtype=torch.float64)
        close(*(zeros.expand(1) if grad is None else grad for grad in (found, expected)))


def test_a_step_sees_as_far_as_the_window_and_no_farther():
    attention, x = layer(4), inputs(9, rows=1)
    last = scan(attention, x)[0][-1]
    for back in range(1, 9):
        changed = x.clone()
        changed[-1 - back, :, :H] += 1
        assert torch.equal(scan(attention, changed)[0][-1], last) == (back > 4)
        changed = x.clone()
        changed[-1 - back, :, H:] += 1  # what followed the place before
        assert torch.equal(scan(attention, changed)[0][-1], last) == (back > 3)


def test_it_copies_what_followed_the_same_state():
    """With weights by hand, a step reads out what came after its like, and nothing where there is none."""
    attention = WindowAttention(3, 1, 8)
    with torch.no_grad():
        attention.W.copy_(100 * torch.eye(3))
        attention.V.copy_(torch.tensor([[1.0], [0.0], [0.0]]))
        attention.b.fill_(20.0)
    a, b, c = torch.eye(3)
    h, x = torch.stack([a, b, c, b, a]), torch.tensor([0.0, 5.0, 7.0, 0.0, 0.0]).unsqueeze(1)
    outputs, _ = scan(attention, torch.cat([h, x], 1).unsqueeze(1))
    copied = (outputs[:, 0] - h)[:, 0]
    torch.testing.assert_close(copied, torch.tensor([0.0, 0.0, 0.0, 7.0, 5.0]), **TOLERANCES[torch.float32])


def test_padding_may_hold_anything():
    attention, x = layer(3), inputs(6)
    padded = x.clone()
    padded[4:, 0] = torch.nan
    outputs, state = scan(attention, padded, lengths=torch.tensor([4, 6]))
    alone, end = scan(attention, x[:4])
    close(outputs[:4, 0], alone[:, 0])
    assert not outputs[4:, 0].any()
    for leaf, other in zip(state, end, strict=True):
        close(leaf[0], other[0])


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor held that was made within it."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(leaf, torch.Tensor):
                self.numbers = max(self.numbers, leaf.untyped_storage().nbytes() // leaf.element_size())
        return result


def test_memory_grows_with_steps_times_window():
    attention, found = layer(8), []
    for steps in (512, 4096):
        with Largest() as largest:
            scan(attention, inputs(steps, rows=1).requires_grad_())[0].sum().backward()
        found.append(largest.numbers)
    assert found[1] <= 9 * found[0]
    assert found[1] < 4096 * 16


def test_a_scaled_gradient_takes_single_steps():
    attention, x = layer(4), inputs(20)
    results = []
    for backend in ("auto", "loop"):
        torch.manual_seed(3)
        leaf = x.clone().requires_grad_()
        outputs, _ = scan(attention, leaf, backprop=Unbiased(4), backend=backend)
        results.append((outputs, *torch.autograd.grad(outputs.square().sum(), [leaf, *attention.parameters()])))
    for found, expected in zip(*results, strict=True):
        close(found, expected)


def test_its_state_is_as_large_as_the_window():
    state = layer(7).zero_state(2)
    assert {name: tuple(leaf.shape) for name, leaf in named_leaves(state).items()} == {
        "h": (2, 7, H),
        "x": (2, 7, E),
        "seen": (2, 7),
    }


def test_explain_says_how_it_runs():
    found = explain(layer(3))
    assert (found.path, found.cell) == ("library", "WindowAttention")
    assert "all its steps at once" in found.reason


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="'window' must be at least 1"):
        WindowAttention(3, 2, 0)
    with pytest.raises(ShapeError, match="sizes must be positive"):
        WindowAttention(3, 0, 2)
    with pytest.raises(ShapeError, match=r"the cell reads \(T, B, 5\)"):
        scan(layer(2), torch.zeros(2, 2, 4).double())
    with pytest.raises(BackpropError):
        scan(layer(2), inputs(3), backprop=Online())
