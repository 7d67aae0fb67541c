"""Bytes to text to ids, piece by piece: the same as all at once, wherever the cuts fall."""

import io
import os
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recurra.data import Pieces, TextDecoder, build_tokenizer, follow, read_pieces
from recurra.data import pieces as pieces_module
from recurra.data.pieces import AGAIN, IDLE
from recurra.errors import CorpusError

TRAIN = "one two  three\n\n four's 5\t6 <unk> é漢\r\n" * 4
ALPHABET = "one two\n\r\t\ufeff\u2028\x1c\x85'5é漢 \u3000"
texts = st.text(st.sampled_from(ALPHABET), max_size=40)
cuts = st.lists(st.integers(0, 120), max_size=8)


@pytest.fixture(scope="module")
def tokenizers():
    return {
        kind: build_tokenizer(kind, TRAIN, vocab=280 if kind == "bpe" else None)
        for kind in ("char", "byte", "word", "bpe")
    }


def cut(text, places):
    places = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(places)]


@pytest.mark.parametrize("kind", ["char", "byte", "word", "bpe"])
@given(text=texts, places=cuts)
@example(text="one\r\n two", places=[4])
@example(text="one \ufefftwo", places=[4])
@example(text="\ufeffone", places=[1])
@example(text="one\n  two", places=[4, 5])
@settings(max_examples=150, deadline=None)
def test_ids_are_those_of_the_whole(tokenizers, kind, text, places):
    tokenizer = tokenizers[kind]
    whole = text.encode() if kind == "byte" else text
    seen = []
    pieces = Pieces(tokenizer, seen=lambda text, ids: seen.append(len(ids)))
    parts = [pieces.feed(part) for part in cut(whole, places)] + [pieces.finish()]
    assert np.concatenate(parts).tolist() == tokenizer.encode(whole).tolist()
    assert sum(seen) == len(tokenizer.lookup(whole))
    assert not pieces.waiting


@given(text=st.text(max_size=40), places=cuts)
def test_text_is_that_of_the_whole(text, places):
    text = text.replace("\0", "")
    decoder = TextDecoder("it")
    if not text.encode().startswith(b"\x1f\x8b"):
        assert "".join([decoder.feed(part) for part in cut(text.encode(), places)] + [decoder.finish()]) == text


@given(
    before=st.text(st.sampled_from("aé漢"), max_size=9), places=cuts, bad=st.sampled_from([b"\xff", b"\0", b"\xc3("])
)
@settings(deadline=None)
def test_a_bad_byte_is_named_by_its_place_and_what_stands_before_it_comes_first(before, places, bad):
    decoder, found, offset = TextDecoder("it"), [], len(before.encode())

    def read():
        for part in cut(before.encode() + bad + b"more", places):
            found.append(decoder.feed(part))
        found.append(decoder.finish())

    with pytest.raises(CorpusError, match=rf"^it is not .* at byte offset {offset};"):
        read()
    assert "".join(found) == before


def test_half_a_character_at_the_end_is_refused():
    decoder = TextDecoder("it")
    assert decoder.feed(b"ab\xc3") == "ab"
    with pytest.raises(CorpusError, match="0xc3 at byte offset 2"):
        decoder.finish()


def test_what_is_compressed_is_to_be_unpacked():
    with pytest.raises(CorpusError, match="gzip -dc"):
        TextDecoder("it").feed(b"\x1f\x8bmore")


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_what_has_no_border_does_not_wait_for_ever(tokenizers, kind, monkeypatch):
    monkeypatch.setattr(pieces_module, "LONGEST_PENDING", 100)
    pieces = Pieces(tokenizers[kind])
    for _ in range(50):
        pieces.feed("one" * 10)
        assert len(pieces.waiting) <= 100


def test_a_file_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces_module, "PIECE", 7)
    path = tmp_path / "it"
    path.write_bytes(bytes(range(50)))
    parts = list(read_pieces(path))
    assert b"".join(parts) == bytes(range(50))
    assert max(map(len, parts)) == 7
    with pytest.raises(CorpusError, match="does not exist"):
        list(read_pieces(tmp_path / "other"))


def test_standard_input_is_read_in_pieces(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"some text")))
    assert b"".join(read_pieces("-")) == b"some text"
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError, match="closed"):
        list(read_pieces("-"))


def test_a_pipe_is_read_as_it_fills(monkeypatch):
    end, begin = os.pipe()
    with open(end) as reader, open(begin, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", reader)
        parts = read_pieces("-")
        for text in (b"one\n", b"two\n"):
            writer.write(text)
            assert next(parts) == text
        writer.close()
        assert list(parts) == []


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


class Follower:
    """Follows a file; between two looks at it something happens to it."""

    def __init__(self, path):
        self.happens = []
        self.events = follow(path, sleep=lambda seconds: self.happens.pop(0)())

    def next(self, *happens):
        """What comes until there is no more for now."""
        self.happens += happens
        found = []
        for event in self.events:
            if event == IDLE:
                return found
            found.append(event)
        return found


def test_a_file_that_grows(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    follower = Follower(path)
    assert follower.next() == [b"one\n"]
    assert follower.next(lambda: append(path, b"tw")) == [b"tw"]
    assert follower.next(lambda: None) == []
    assert follower.next(lambda: append(path, b"o\n")) == [b"o\n"]


def test_a_file_that_is_cut_short(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    follower = Follower(path)
    assert follower.next() == [b"one\ntwo\n"]
    assert follower.next(lambda: path.write_bytes(b"new\n")) == []
    assert follower.next() == [AGAIN, b"new\n"]


def test_a_file_that_is_replaced_is_read_to_its_end_first(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    follower = Follower(path)
    assert follower.next() == [b"one\n"]

    def rotate():
        with path.open("ab") as file:
            path.rename(tmp_path / "log.1")
            file.write(b"last\n")
        path.write_bytes(b"new\n")

    assert follower.next(rotate) == [b"last\n"]
    assert follower.next() == [AGAIN, b"new\n"]


def test_a_file_that_is_gone_for_a_while(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    follower = Follower(path)
    assert follower.next() == [b"one\n"]
    assert follower.next(lambda: path.rename(tmp_path / "log.1")) == []
    assert follower.next(lambda: path.write_bytes(b"new\n")) == []
    assert follower.next() == [AGAIN, b"new\n"]


def test_there_must_be_a_file_to_follow(tmp_path):
    with pytest.raises(CorpusError, match="does not exist"):
        next(follow(tmp_path / "log"))
