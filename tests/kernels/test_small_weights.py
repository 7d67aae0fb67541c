"""Steps that read weights in one or two bytes: for each kind of processor, at every remainder, with odd numbers."""

import pytest
import torch
from llvmlite import binding
from torch import nn

from recurra.cells import make_cell
from recurra.engine.llvm import compiler, direct, rounded
from recurra.engine.llvm.target import TARGETS
from recurra.engine.quantised import quantise
from recurra.engine.stepper import CellStepper
from recurra.testing.tolerances import TOLERANCES

NEEDED = {"avx512": {"avx512f", "avx512dq", "avx512vl"}, "avx2": {"avx2", "fma"}, "sse": {"sse2"}, "neon": set()}
KINDS = ("bf16", "int8")
CLOSE = TOLERANCES[torch.float32]


def small_step(cell, kind):
    """A stepper in few bytes for a cell, which is given the weights that are meant."""
    small = {name: quantise(p.detach(), kind) for name, p in cell.named_parameters() if p.ndim > 1 and p.shape[-1] > 1}
    for name, p in cell.named_parameters():
        if name in small:
            p.data.copy_(small[name].dequantise())
    return CellStepper(cell, small)


class Dense(nn.Module):
    """A product and nothing else, so that an error in it has nowhere to hide."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.W = nn.Parameter(torch.randn(outputs, inputs))
        self.V = nn.Parameter(torch.randn(outputs, outputs))
        self.outputs = outputs

    def step(self, x, state):
        h = x @ self.W.t() + state @ self.V.t()
        return h, state

    def zero_state(self, batch):
        return torch.zeros(batch, self.outputs)


@pytest.fixture(params=TARGETS)
def target(request, monkeypatch):
    features = binding.get_host_cpu_features()
    lacking = sorted(feature for feature in NEEDED[request.param] if not features.get(feature, False))
    if lacking:
        pytest.skip(f"this processor lacks {', '.join(lacking)}")
    monkeypatch.setattr(compiler, "host_target", lambda: TARGETS[request.param])
    return TARGETS[request.param]


@torch.no_grad()
def test_code_for_a_processor(target):
    torch.manual_seed(0)
    cell = make_cell("gru", 21, 19)
    step = small_step(cell, "bf16" if target is TARGETS["neon"] else "int8")
    for rows in (1, 3, 5):
        x, state = torch.randn(rows, 21), cell.zero_state(rows)
        found, expected = step(x, state), cell.step(x, state)
        assert found is not None, step.reason
        torch.testing.assert_close(found, expected, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize(
    ("inputs", "outputs", "kind"),
    [(2, 2, "int8"), (15, 33, "bf16"), (31, 5, "int8"), (32, 17, "int8"), (33, 2, "bf16"), (100, 48, "int8")],
)
def test_every_remainder(kind, inputs, outputs):
    torch.manual_seed(inputs)
    cell = Dense(inputs, outputs)
    step = small_step(cell, kind)
    for rows in (1, 2, 3, 4, 16):
        # of different size, as each row has a scale of its own
        x = torch.randn(rows, inputs) * torch.logspace(-5, 5, rows).unsqueeze(1)
        state = torch.randn(rows, outputs) * torch.logspace(5, -5, rows).unsqueeze(1)
        (found, _), (expected, _) = step(x, state), cell.step(x, state)
        size = (x.double().abs() @ cell.W.double().abs().t() + state.double().abs() @ cell.V.double().abs().t()).float()
        assert ((found - expected).abs() <= 1e-6 * size).all()


@torch.no_grad()
def test_the_largest_sums_fit():
    cell = Dense(4000, 4)
    cell.W.data.fill_(1.0)
    step = small_step(cell, "int8")
    x = torch.full((1, 4000), 3.0)
    found, _ = step(x, torch.zeros(1, 4))
    torch.testing.assert_close(found, torch.full((1, 4), 12000.0))
    wide = Dense(9000, 3)  # would not fit, and is computed in float32
    wide.W.data.fill_(-1.0)
    found, _ = small_step(wide, "int8")(torch.full((1, 9000), 3.0), torch.zeros(1, 3))
    torch.testing.assert_close(found, torch.full((1, 3), -27000.0), rtol=1e-5, atol=0.0)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strange", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_spoils_its_own_row(kind, strange):
    torch.manual_seed(0)
    cell = Dense(20, 17)
    step = small_step(cell, kind)
    x, state = torch.randn(3, 20), torch.randn(3, 17)
    x[1, 7] = strange
    (found, _), (expected, _) = step(x, state), cell.step(x, state)
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], **CLOSE)
    assert not torch.isfinite(found[1]).any()


@torch.no_grad()
def test_zeros_and_numbers_that_hardly_are_any():
    cell = Dense(20, 17)
    step = small_step(cell, "int8")
    for size in (0.0, 1e-44, 1e-35, 1e30):
        x = torch.full((1, 20), size)
        (found, _), (expected, _) = step(x, torch.zeros(1, 17)), cell.step(x, torch.zeros(1, 17))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-30)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_threads(kind, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr("recurra.engine.step.BYTES_PER_THREAD", 1)
    cell = make_cell("lstm", 40, 100)
    step, state, x = small_step(cell, kind), cell.zero_state(2), torch.randn(2, 40)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(step(x, state))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*results, rtol=0, atol=0)


@torch.no_grad()
def test_whole_numbers_and_float32_agree(monkeypatch):
    torch.manual_seed(0)
    if not rounded.rounds(compiler.host_target()):
        pytest.skip("this processor multiplies int8 weights in float32 alone")
    cell = make_cell("gru", 40, 50)
    x, state = torch.randn(3, 40), torch.randn(3, 50)
    ours = small_step(cell, "int8")(x, state)
    monkeypatch.setattr(compiler, "RoundedEmitter", direct.DirectEmitter)
    monkeypatch.setattr(compiler, "_programs", {})
    monkeypatch.setattr(compiler, "cache_directory", lambda: None)
    theirs = small_step(cell, "int8")(x, state)
    torch.testing.assert_close(ours, theirs, **CLOSE)
