from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.data.text import Text, decode_text, read_documents, split_documents
from recurra.errors import CorpusError

UNTOUCHED = "\ufeffline one\r\nline two\rline three\ncafe\u0301 \u200d 漢字\u2028é"


def one_line(error: pytest.ExceptionInfo[CorpusError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert ";" in message or ":" in message, "a message says what to do"
    return message


def test_a_file_is_read_untouched(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(UNTOUCHED.encode())
    assert read_documents(path) == ([UNTOUCHED], [])
    assert read_documents(path, raw=True) == ([UNTOUCHED.encode()], [])


def test_a_folder_is_read_in_order_without_hidden_empty_and_binary_files(tmp_path: Path) -> None:
    for name, data in (("b.txt", b"two"), ("a.md", b"one"), ("below/c.txt", b"three"), (".hidden/d.txt", b"no")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / ".secret").write_bytes(b"no")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    documents = read_documents(tmp_path)
    assert documents.texts == ["one", "two", "three"]
    assert documents.notes == [f"left out of {tmp_path}: empty.txt (empty), picture.png (not text)"]
    assert b"\x89PNG\0\0" in read_documents(tmp_path, raw=True).texts


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(UNTOUCHED.encode())))
    assert read_documents("-").texts == [UNTOUCHED]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError) as error:
        read_documents("-")
    assert "closed" in one_line(error)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"good text\0more", "NUL byte at byte offset 9"),
        (b"caf\xe9 au lait", "byte 0xe9 at byte offset 3"),
        ("né".encode() + b"\xc3", "byte 0xc3 at byte offset 3"),
        (b"\xed\xa0\x80", "byte 0xed at byte offset 0"),
        ("wide".encode("utf-16"), "at byte offset"),
        (b"\x1f\x8b\x08rest", "gzip -dc"),
    ],
)
def test_what_is_not_text_is_named_with_its_place(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(CorpusError) as error:
        read_documents(path)
    message = one_line(error)
    assert said in message
    assert str(path) in message
    if data:
        assert read_documents(path, raw=True).texts == [data]
        assert "--tokenizer byte" in message or "gzip" in message


def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorpusError) as error:
        read_documents(tmp_path / "missing.txt")
    assert "does not exist" in one_line(error)
    with pytest.raises(CorpusError) as error:
        read_documents("null\0name")
    one_line(error)
    with pytest.raises(CorpusError) as error:
        read_documents(tmp_path)
    assert "no text files" in one_line(error)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "locked.txt").write_text("text")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CorpusError) as error:
        read_documents(tmp_path / "locked.txt")
    assert "Permission denied" in one_line(error)


@given(st.binary())
def test_decoding_is_strict_and_lossless(data: bytes) -> None:
    try:
        assert decode_text(data, "x").encode() == data
    except CorpusError as error:
        offset = int(str(error).partition("byte offset ")[2].partition(";")[0]) if "offset" in str(error) else 0
        assert data[offset] in (0, 0x1F) or data[offset] >= 0x80


@given(
    st.lists(st.text("a \r\né", min_size=1) | st.binary(min_size=1), min_size=1, max_size=4),
    st.integers(0),
    st.booleans(),
)
def test_splitting_loses_nothing(texts: list[Text], cut: int, whole_words: bool) -> None:
    def everything(part: list[Text]) -> bytes:
        return b"".join(text if isinstance(text, bytes) else text.encode() for text in part)

    cut %= sum(map(len, texts)) + 1
    before, after = split_documents(texts, cut, whole_words=whole_words)
    assert everything(before) + everything(after) == everything(texts)
    assert all([*before, *after])
    if not whole_words and all(isinstance(text, str) for text in texts):
        assert sum(map(len, before)) == cut


@pytest.mark.parametrize(
    ("text", "cut", "whole_words", "head"),
    [
        ("the first word", 6, True, "the first"),
        ("the first word", 6, False, "the fi"),
        ("the first word", 4, True, "the "),
        ("end\r\nnext line", 4, True, "end\r\n"),
        ("漢字" * 2000, 7, True, "漢字漢字漢字漢"),
        ("né".encode(), 2, False, "né".encode()),
        (b"\x80" * 9, 1, False, b"\x80" * 5),
    ],
)
def test_where_a_cut_falls(text: Text, cut: int, whole_words: bool, head: Text) -> None:
    assert split_documents([text], cut, whole_words=whole_words)[0] == [head]
