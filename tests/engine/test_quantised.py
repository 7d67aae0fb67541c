"""What a weight becomes in one or two bytes, and how far that may be from what it was."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from recurra.engine.quantised import WEIGHTS, Quantised, dequantise_all, quantise, quantise_all, split, weights_of
from recurra.errors import ConfigError

TINY = torch.finfo(torch.float32).tiny
numbers = st.floats(-(2.0**100), 2.0**100, width=32)
matrices = arrays("float32", array_shapes(min_dims=2, max_dims=3, max_side=20), elements=numbers).map(torch.from_numpy)


@given(w=matrices)
def test_int8_is_half_a_scale_away_at_most(w):
    q, s = quantise(w, "int8")
    assert q.dtype == torch.int8
    assert s.shape == w.shape[:-1]
    assert int(q.abs().max()) <= 127
    largest = w.double().abs().amax(-1)
    assert torch.allclose(s.double(), (largest / 127).clamp_min(TINY), rtol=1e-6)
    # in exact arithmetic s/2; the scale and the quotient are rounded to float32 before
    distance = (w.double() - s.double().unsqueeze(-1) * q.double()).abs()
    assert (distance <= s.double().unsqueeze(-1) * 0.5 * (1 + 1e-4)).all()


@given(w=matrices)
def test_bf16_is_two_to_the_minus_eight_away_at_most(w):
    q, s = quantise(w, "bf16")
    assert q.dtype == torch.bfloat16
    assert s is None
    assert ((w.double() - q.double()).abs() <= 2.0**-8 * w.double().abs() + TINY).all()


@given(w=matrices)
def test_what_is_representable_stays_as_it_is(w):
    for kind in ("bf16", "int8"):
        once = quantise(w, kind).dequantise()
        again = quantise(once, kind).dequantise()
        torch.testing.assert_close(again, once, rtol=1e-6, atol=0.0)


def test_a_channel_of_zeros_and_one_of_the_smallest_numbers():
    w = torch.zeros(2, 16)
    w[1, 3] = TINY / 2**10
    q = quantise(w, "int8")
    assert torch.equal(q.dequantise(), torch.zeros(2, 16))
    assert torch.isfinite(q.scales).all()
    assert (q.scales > 0).all()


def test_ties_go_to_the_even_number():
    w = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0]])
    q, s = quantise(w, "int8")
    assert float(s) == 1.0
    assert q.tolist() == [[127, 0, 2, 2, 0, -2, -127]]


def test_each_channel_has_a_scale_of_its_own():
    w = torch.rand(6, 32) * torch.logspace(-6, 6, 6).unsqueeze(1)
    relative = (quantise(w, "int8").dequantise() - w).abs().amax(1) / w.abs().amax(1)
    assert (relative <= 0.5 / 127 + 1e-6).all()


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_channels_by_number(kind):
    w = torch.randn(9, 20)
    q = quantise(w, kind)
    assert torch.equal(q.channels(torch.tensor([4, 0])).dequantise(), q.dequantise()[[4, 0]])
    assert torch.equal(q.channels(slice(2, 5)).dequantise(), q.dequantise()[2:5])
    assert torch.equal(q.channel(8), q.dequantise()[8:])


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_a_model_s_tensors_by_name(kind):
    tensors = {
        "W": torch.randn(8, 32), "U": torch.randn(2, 3, 16), "thin": torch.randn(8, 4),
        "b": torch.randn(32), "buffer": torch.randn(5, 40), "count": torch.tensor([[3] * 20]),
    }  # fmt: skip
    stored = quantise_all(tensors, kind, set(tensors) - {"buffer"})
    assert {name for name, tensor in stored.items() if tensor.dtype == WEIGHTS[kind]} == {"W", "U"}
    assert weights_of(stored) == kind
    assert weights_of(tensors) == "float32"
    for name in ("thin", "b", "buffer", "count"):
        assert stored[name] is tensors[name]
    wide = dequantise_all(stored)
    assert wide.keys() == tensors.keys()
    assert all(wide[name].shape == tensors[name].shape for name in wide)
    assert torch.equal(wide["U"], quantise(tensors["U"], kind).dequantise())
    assert all(isinstance(matrix, Quantised) for matrix in split(stored)[1].values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_numbers_that_are_none_are_refused(kind, bad):
    w = torch.randn(4, 20)
    w[2, 2] = bad
    with pytest.raises(ConfigError, match="not a finite number"):
        quantise(w, kind)
    with pytest.raises(ConfigError, match="not a finite number"):
        quantise(torch.full((1, 20), 3.4e38), "bf16")  # rounds up beyond the largest


def test_nothing_to_make_smaller_is_refused():
    with pytest.raises(ConfigError, match="16 inputs"):
        quantise_all({"W": torch.randn(40, 8), "b": torch.randn(40)}, "int8", {"W", "b"})


def test_scales_that_are_not_there_are_noticed():
    stored = quantise_all({"W": torch.randn(40, 20)}, "int8", {"W"})
    for scales in (None, stored["W.scale"][:3], stored["W.scale"].double()):
        damaged = {"W": stored["W"]} | ({} if scales is None else {"W.scale": scales})
        with pytest.raises(ConfigError, match="scales"):
            split(damaged)
