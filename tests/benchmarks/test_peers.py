"""All contenders compute the same, on the same numbers."""

import sys

import pytest
import torch

from recurra.benchmarks.peers import OURS, contenders, jax_scan, onnx_node, torch_compiled, torch_loop, torch_nn
from recurra.benchmarks.work import MODES, Call, Case, Unavailable, Work, count_products
from recurra.cells import CELLS, LSTM
from recurra.engine import BACKENDS
from recurra.errors import ConfigError

TORCH_HAS = ("gru", "irnn", "lstm", "rnn", "rnn-relu")
USUAL = ("gru", "lstm", "rnn", "lstm-coupled", "mingru")  # of those that torch has, and of those that it has not


def build(cell, mode):
    return Work.build(Case(cell, mode, rows=2, steps=1 if mode == "step" else 3, size=8))


def returned(work, call: Call):
    with torch.inference_mode(work.case.mode != "train"):
        return call()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "cell", [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in CELLS]
)
def test_ours_and_torch_agree_with_the_reference(cell, mode):
    work = build(cell, mode)
    found = set()
    for name, prepare in contenders().items():
        if name in ("jax", "onnxruntime"):
            continue
        call = prepare(work)
        if call is not None:
            values = returned(work, call)
            assert len(values) >= len(work.expected)
            assert work.agrees(work.error(values)), name
            found.add(name)
    assert OURS in found
    assert ("torch" in found) == (cell in TORCH_HAS) == ("torch loop" not in found)
    assert ("torch cell" in found) == (cell in TORCH_HAS and mode == "step")


JAX = [(name, mode) for name in (*TORCH_HAS, "lstm-layernorm") for mode in MODES]
JAX_USUAL = {("gru", "infer"), ("lstm", "train"), ("rnn", "step"), ("rnn-relu", "infer"), ("lstm-layernorm", "infer")}


@pytest.mark.parametrize(
    ("cell", "mode"), [case if case in JAX_USUAL else pytest.param(*case, marks=pytest.mark.slow) for case in JAX]
)
def test_jax_agrees_with_the_reference(cell, mode):
    pytest.importorskip("jax")
    work = build(cell, mode)
    values = returned(work, jax_scan.prepare(work))
    assert len(values) >= len(work.expected)
    assert work.agrees(work.error(values))


@pytest.mark.parametrize("mode", ["infer", "step"])
@pytest.mark.parametrize("cell", TORCH_HAS)
def test_onnxruntime_agrees_with_the_reference(cell, mode):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    work = build(cell, mode)
    call = onnx_node.prepare(work)
    for _ in range(2):
        assert work.agrees(work.error(returned(work, call)))


def test_training_returns_the_gradients_of_all_parameters():
    work = build("lstm", "train")
    assert len(torch_nn.prepare(work)()) == 2 + 4
    assert len(contenders()[OURS](work)()) == 2 + 4


def test_what_a_peer_does_not_have_it_takes_no_part_in():
    assert onnx_node.prepare(build("lstm", "train")) is None
    assert onnx_node.prepare(build("mingru", "infer")) is None
    assert jax_scan.prepare(build("mingru", "infer")) is None
    assert torch_loop.prepare(build("lstm", "infer")) is None


@pytest.mark.parametrize(("peer", "module"), [(jax_scan, "jax"), (onnx_node, "onnxruntime"), (onnx_node, "onnx")])
def test_a_peer_that_is_not_installed_says_how_to(monkeypatch, peer, module):
    if module == "onnx":
        pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unavailable, match=r"pip install .*recurra\[bench\]"):
        peer.prepare(build("gru", "infer"))


def test_every_backend_is_forced_but_the_reference():
    names = contenders()
    assert next(iter(names)) == OURS
    assert {f"{OURS} {name}" for name in BACKENDS} & set(names) == {
        f"{OURS} {name}" for name in BACKENDS if name not in ("auto", "loop")
    }
    assert "torch compiled" not in names
    assert "torch compiled" in contenders(compiled=True)


def test_a_compiler_that_fails_is_reported(monkeypatch):
    def broken(*arguments, **options):
        def call(*arguments):
            raise RuntimeError("no compiler\nand much more")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(Unavailable, match=r"^torch.compile fails here: RuntimeError: no compiler$"):
        torch_compiled.prepare(build("mgu", "infer"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, about torch
def test_the_compiled_loop_agrees_with_the_reference():
    work = build("mgu", "train")
    assert work.agrees(work.error(torch_compiled.prepare(work)()))


def test_products_are_counted_forward_once_and_backward_twice():
    gates, rows, steps, size = 3, 2, 3, 8
    forward = 2 * steps * rows * gates * size * 2 * size
    assert count_products(build("gru", "infer")) == forward
    assert count_products(build("gru", "train")) == 3 * forward


def test_products_of_any_cell_are_counted():
    assert count_products(build("mingru", "infer")) == 2 * 3 * 2 * 2 * 8 * 8  # W alone
    assert count_products(build("indrnn", "infer")) == 2 * 3 * 2 * 8 * 8


def test_the_numbers_of_a_case_are_the_same_every_time():
    torch.manual_seed(1)
    first = build("lstm", "step")
    assert torch.initial_seed() == 1
    second = build("lstm", "step")
    assert torch.equal(first.expected[0], second.expected[0])
    assert first.state.h.abs().min() > 0


def test_a_difference_is_seen():
    work = build("lstm", "train")
    right = [value.clone() for value in work.expected]
    assert work.error(right) == 0.0
    right[1][0, 0, 0] += 1.0
    assert not work.agrees(work.error(right))
    right[1][0, 0, 0] = torch.nan
    assert not work.agrees(work.error(right))


def test_a_cell_with_a_step_of_its_own_is_nobody_elses(monkeypatch):
    class Other(LSTM):
        def step(self, x, state):
            return super().step(x, state)

    monkeypatch.setitem(CELLS, "other", Other)
    work = build("other", "infer")
    assert torch_nn.prepare(work) is None
    assert torch_loop.prepare(work) is not None


def test_an_unknown_cell_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'lstm'"):
        build("lstn", "infer")
