"""Stop texts and characters that span tokens, by example; the laws are in tests/laws."""

import pytest
import torch

from recurra.decoding import Draw, StopMatcher, TextStream, stream_texts
from recurra.errors import ConfigError


def shown(pieces, *stops):
    """What each piece shows, and what closing adds."""
    matcher = StopMatcher(stops)
    return [matcher.push(piece) for piece in pieces], matcher.close(), matcher.stopped


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        ("aab", ["ab"], (["", "a", ""], "", True)),
        ("112x", ["12"], (["", "1", "", ""], "", True)),
        ("abx", ["abc"], (["", "", "abx"], "", False)),
        ("ab", ["abc"], (["", ""], "ab", False)),
        (["hello END world"], ["END"], (["hello "], "", True)),
        (["one E", "N", "D two"], ["END"], (["one ", "", ""], "", True)),
        ("xabc", ["abcd", "c"], (["x", "", "", "ab"], "", True)),
        ("xaab", ["b", "aab"], (["x", "", "", ""], "", True)),
        ("abab", [], (list("abab"), "", False)),
    ],
)
def test_examples(pieces, stops, expected):
    assert shown(pieces, *stops) == expected


def test_nothing_passes_after_the_end():
    matcher = StopMatcher(["."])
    assert [matcher.push("a.b"), matcher.push("c"), matcher.close()] == ["a", "", ""]


def test_an_empty_stop_text_is_refused():
    with pytest.raises(ConfigError, match="empty"):
        StopMatcher(["a", ""])


def test_a_character_is_shown_once_it_is_whole():
    stream = TextStream()
    assert [stream.push(bytes([byte])) for byte in "aé€😀".encode()] == ["a", "", "é", "", "", "€", "", "", "", "😀"]
    assert stream.close() == ""


def test_bytes_that_are_not_text_are_replaced():
    stream = TextStream()
    assert [stream.push(piece) for piece in (b"a\xff", b"\xe2\x82", b"b", b"\xf0\x9f")] == [
        "a\ufffd",
        "",
        "\ufffdb",
        "",
    ]
    assert stream.close() == "\ufffd"


def test_a_stop_text_of_several_bytes_per_character():
    stream = TextStream(["né"])
    assert "".join(stream.push(bytes([byte])) for byte in "année".encode()) + stream.close() == "an"
    assert stream.stopped


def draws_of(*rows):
    return [Draw(torch.tensor(column), None) for column in zip(*rows, strict=True)]


def test_rows_end_on_their_own():
    pieces = list(stream_texts(draws_of(b"ab.cd", b"wxyz."), bytes, stops=["."]))
    assert ["".join(row) for row in zip(*pieces, strict=True)] == ["ab", "wxyz"]


def test_the_last_stop_text_ends_the_drawing():
    draws = iter(draws_of(b"a.bc", b"xy.z"))
    list(stream_texts(draws, bytes, stops=["."]))
    assert next(draws).ids.tolist() == list(b"cz")


def test_what_is_held_back_is_shown_at_the_end():
    assert list(stream_texts(draws_of(b"ab"), bytes, stops=["abc"])) == [[""], [""], ["ab"]]
