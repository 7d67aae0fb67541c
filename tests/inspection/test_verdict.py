"""What is said of the measures, by rules: faults first, and nothing of what was not measured."""

from dataclasses import replace

import made_up_reports as made_up
import pytest

from recurra.inspection import write_verdict
from recurra.inspection.flow import TruncationError
from recurra.inspection.spectrum import Spectrum
from recurra.inspection.verdict import CLOSE, MANY, NOTABLE, POOR, enough


def flow_with(*errors, **settings):
    """A flow whose truncation is given by (window, relative error)."""
    points = [TruncationError(window, 1 - error / 2, error) for window, error in errors]
    return replace(made_up.flow(**settings), truncation=points)


def spectrum_with(largest, error=0.004):
    return Spectrum([], [], made_up.lyapunov(largest, error))


def test_nothing_measured_nothing_said():
    assert write_verdict() == []
    assert write_verdict(window=64, spectrum=Spectrum([], [], None)) == []


def test_the_example_of_the_design():
    flow = flow_with((16, 0.3), (32, 0.1), (64, 0.03), slope=-0.2)
    assert write_verdict(window=64, flow=flow, units=made_up.units(forget_open=0.04)) == [
        "Gradients fall to 1 % after 24 steps.",
        "The window of 64 cuts nothing that matters.",
        "4 % of the forget gates are stuck open.",
    ]


@pytest.mark.parametrize(
    ("slope", "says"),
    [
        (-0.2, "Gradients fall to 1 % after 24 steps."),
        (-0.02, "Gradients fade slowly: 7.7 % is left after 128 steps."),
        (-0.001, "Gradients keep their size: 88 % is left after 128 steps."),
        (0.05, "Gradients explode: 128 steps back they are 602 times as large;"),
    ],
)
def test_how_far_gradients_reach(slope, says):
    (sentence,) = write_verdict(flow=flow_with(slope=slope))
    assert sentence.startswith(says)


@pytest.mark.parametrize(
    ("window", "says"),
    [
        (64, "The window of 64 cuts nothing that matters."),
        (128, "The window of 128 cuts nothing that matters."),
        (48, "The window of 48 misses"),
        (32, "The window of 32 misses 15 % of the gradient; 64 would be enough."),
        (16, "The window of 16 is too short: it misses 40 % of the gradient; 64 would be enough."),
        (4, "The window of 4 is too short: it misses 40 % of the gradient; 64 would be enough."),
        (256, "The window of 256 is more than enough: 64 would do."),
        (None, "Training leaves no gradient out; a window of 64 gives it to within 5 %."),
    ],
)
def test_what_a_window_cuts(window, says):
    flow = flow_with((16, 0.4), (32, 0.15), (64, 0.04), (128, 0.01))
    said = write_verdict(window=window, flow=flow)
    assert len(said) == (1 if window == 48 else 2)
    assert window == 48 or says in said


def test_a_window_that_no_measure_bounds_is_not_judged():
    flow = flow_with((16, 0.4), (32, 0.15))
    assert len(write_verdict(window=64, flow=flow)) == 1
    assert len(write_verdict(window=None, flow=flow)) == 1


def test_a_window_of_which_nothing_is_enough():
    said = write_verdict(window=16, flow=flow_with((8, 1.4), (16, 1.2), (32, 0.9)))
    assert said[0] == "The window of 16 is too short: it misses most of the gradient; a longer one would learn more."


@pytest.mark.parametrize(
    ("errors", "window"),
    [((0.4, 0.04, 0.01), 2), ((0.04, 0.4, 0.01), 4), ((0.04, 0.01, 0.4), None), ((CLOSE,) * 3, 1)],
)
def test_enough_means_from_there_on(errors, window):
    assert enough(flow_with(*zip((1, 2, 4), errors, strict=True)).truncation) == window


def test_gradients_come_first_and_faults_before_what_is_in_order():
    flow = flow_with((64, POOR), (128, 0.01), slope=-0.2)
    said = write_verdict(window=64, flow=flow, units=made_up.units(forget_open=0.0, saturated=0.5))
    assert said[0].startswith("The window of 64 is too short")
    assert said[1].startswith("Gradients fall to 1 %")
    assert said[2].startswith("50 % of the outputs are saturated")


@pytest.mark.parametrize(
    ("share", "sentences"), [(0.0, 0), (NOTABLE / 2, 0), (NOTABLE, 1), (MANY, 1), (1.0, 1)], ids=str
)
def test_stuck_gates(share, sentences):
    said = write_verdict(units=made_up.units(forget_open=share))
    assert len(said) == sentences
    assert all("forget gates are stuck open" in sentence for sentence in said)


def test_gates_without_a_name():
    gate = replace(made_up.gate(0, "gate 2"), stuck_closed=0.5)
    (sentence,) = write_verdict(units=replace(made_up.units(), gates=[gate]))
    assert sentence == "50 % of the units of gate 2 are stuck closed."


def test_outputs_that_are_no_tanh_are_not_judged():
    assert write_verdict(units=replace(made_up.units(forget_open=0.0), saturated=None)) == []


@pytest.mark.parametrize(
    ("largest", "error", "says"),
    [
        (0.03, 0.004, "grow: the largest Lyapunov exponent is +0.030 ± 0.004"),
        (-0.03, 0.004, "die out: the largest Lyapunov exponent is −0.030 ± 0.004"),
        (0.003, 0.004, "stay: the largest Lyapunov exponent is +0.003 ± 0.004"),
        (-0.003, 0.004, "stay"),
    ],
)
def test_whether_differences_grow(largest, error, says):
    (sentence,) = write_verdict(spectrum=spectrum_with(largest, error))
    assert says in sentence


def test_behaviour():
    point, chaos = made_up.behaviour(), made_up.behaviour("'a'", "is chaotic")
    growth = made_up.behaviour("'b'", "grows without bound")
    assert write_verdict(behaviours=[point]) == ["Under no input the state settles to a point."]
    assert write_verdict(behaviours=[point, point]) == [
        "Under each of the constant inputs tried the state settles to a point."
    ]
    assert write_verdict(behaviours=[point, chaos, point]) == [
        "Of 3 constant inputs, the state settles to a point under 2 and is chaotic under 1."
    ]
    assert write_verdict(behaviours=[point, growth])[0] == "The state grows without bound under 'b'."


def test_a_chaotic_network_is_told_from_one_that_settles():
    chaotic = write_verdict(spectrum=spectrum_with(0.1), behaviours=[made_up.behaviour(kind="is chaotic")])
    settled = write_verdict(spectrum=spectrum_with(-0.1), behaviours=[made_up.behaviour()])
    assert "grow" in chaotic[0]
    assert "chaotic" in chaotic[1]
    assert "die out" in settled[0]
    assert "settles" in settled[1]


def test_a_longer_window_is_no_advice_where_gradients_explode():
    said = write_verdict(window=64, flow=flow_with((64, 0.9), (128, 0.5), slope=0.4))
    assert said[0].startswith("Gradients explode")
    assert not any("window" in sentence for sentence in said)


def test_an_exponent_that_is_not_determined_is_not_told():
    assert write_verdict(spectrum=spectrum_with(-53.5, error=28.6)) == []
