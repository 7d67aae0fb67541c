"""Policies as they are written on the command line, and back."""

from __future__ import annotations

import pytest

from recurra.engine import Checkpointed, Full, Online, RandomWindow, Truncated, Unbiased, parse_policy
from recurra.errors import BackpropError


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("64", Truncated(64)),
        (" 64 ", Truncated(64)),
        ("truncated:64", Truncated(64)),
        ("truncated:16,64", Truncated(16, 64)),
        ("random:70", RandomWindow(70)),
        ("unbiased:50", Unbiased(50)),
        ("unbiased:50,6", Unbiased(50, 6.0)),
        ("online", Online()),
        ("online:8", Online(8)),
        ("full", Full()),
        ("full:256", Full(256)),
        ("checkpointed:64MB", Checkpointed(64_000_000)),
        ("checkpointed:1.5MiB:4096", Checkpointed(1_572_864, 4096)),
    ],
)
def test_policies_are_read(text, policy):
    assert parse_policy(text) == policy
    assert parse_policy(str(policy)) == policy


@pytest.mark.parametrize(
    "text",
    ["", "ful", "full:x", "64.5", "truncated:", "truncated:1,2,3", "64:2", "none", "random", "unbiased:", "online:x"],
)
def test_what_is_no_policy_is_said(text):
    with pytest.raises(BackpropError, match=r"write 64, truncated:K1,K2, .* or checkpointed:64MB"):
        parse_policy(text)


def test_a_slip_of_the_finger_is_guessed():
    with pytest.raises(BackpropError, match="checkpointed"):
        parse_policy("chekpointed:64MB")


@pytest.mark.parametrize("text", ["0", "-3", "full:0", "truncated:-1", "random:0", "unbiased:0", "online:0"])
def test_windows_are_positive(text):
    with pytest.raises(BackpropError, match="must be at least 1"):
        parse_policy(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("truncated:20,10", "K2 of at least K1"),
        ("unbiased:1", "unbiased:2"),
        ("unbiased:50,2", "above 2"),
        ("checkpointed:", "size of memory"),
        ("checkpointed:64XB", "64MB or 1GiB"),
        ("checkpointed:0", "positive"),
    ],
)
def test_settings_that_mean_nothing_are_refused(text, message):
    with pytest.raises(BackpropError, match=message):
        parse_policy(text)
