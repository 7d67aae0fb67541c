"""Numbers and tokens as sentences and pictures have them."""

import pytest

from recurra.inspection.words import duration, ends_line, gate_name, legible, plural, visible


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("nine␣", "nine"), ("␣", "␣"), (" ", "␣"), ("\n", "↵"), (r"\n", "↵"), ("␣the", "the"), ("\x00", "·"),
        ("incomprehensible", "incompreh…"), ("a␣b", "a␣b"),
    ],
)  # fmt: skip
def test_tokens_of_a_picture(token, shown):
    assert visible(token) == shown


@pytest.mark.parametrize(
    ("token", "shown"), [("nine␣", "nine "), (" ", " "), (r"\n", "↵"), ("\t", "⇥"), ("x" * 99, "x" * 99)]
)
def test_tokens_of_a_text(token, shown):
    assert legible(token) == shown


def test_line_ends():
    assert [ends_line(token) for token in ("\n", r"\n", "<eos>", "n", "␣")] == [True, True, True, False, False]


@pytest.mark.parametrize(("seconds", "text"), [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.5e-5, "45 µs"), (3e-9, "3 ns")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_counts_and_gates():
    assert [plural(n, "step") for n in (0, 1, 2000)] == ["0 steps", "1 step", "2,000 steps"]
    assert [gate_name(name) for name in ("forget", "gate 1")] == ["forget gates", "units of gate 1"]
