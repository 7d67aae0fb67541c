"""Bytes of files that are not what they should be."""

import gzip
import io
import sys

import pytest

from recurra.data.examples.files import ending, lines_of, read_text
from recurra.errors import DataError

TEXT = "good\t1\nschön\t0\n"


@pytest.mark.parametrize(
    "data",
    [TEXT.encode(), TEXT.encode("utf-8-sig"), gzip.compress(TEXT.encode(), mtime=0)],
    ids=["plain", "marked", "packed"],
)
def test_a_text_is_read_as_it_is(tmp_path, data):
    path = tmp_path / "t.tsv"
    path.write_bytes(data)
    assert read_text(path) == TEXT


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "t.tsv is empty; give a file with examples"),
        (b"\n \n", "t.tsv is empty; give a file with examples"),
        (gzip.compress(b"abc" * 50, mtime=0)[:-12], "t.tsv is damaged: it is no whole gzip file; copy it again"),
        (b"PK\x03\x04rest", "t.tsv is a zip archive; unpack it"),
        (b"a\x00b", "t.tsv is not text: NUL byte at byte offset 1; give a text file in UTF-8"),
        (TEXT.encode("latin-1"), "t.tsv, line 2: not UTF-8, byte 0xf6 at byte offset 10; convert the file to UTF-8"),
        (
            b"\xef\xbb\xbf" + TEXT.encode("latin-1"),
            "t.tsv, line 2: not UTF-8, byte 0xf6 at byte offset 13; convert the file to UTF-8",
        ),
        (TEXT.encode("utf-16"), "t.tsv, line 1: not UTF-8, byte 0xff at byte offset 0"),
        (TEXT.encode() + "ä\t1\n".encode("cp1252"), "t.tsv, line 3: not UTF-8, byte 0xe4 at byte offset 16"),
    ],
)
def test_what_is_no_text_is_told_by_its_place(tmp_path, data, message):
    path = tmp_path / "t.tsv"
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        read_text(path)
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none.tsv does not exist; give a table, a folder, or - for standard input"):
        read_text(tmp_path / "none.tsv")
    with pytest.raises(DataError, match="cannot read"):
        read_text("a\0b")


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert read_text("-") == TEXT
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="standard input is closed"):
        read_text("-")


def test_lines_end_where_any_system_ends_them_and_nowhere_else():
    assert lines_of("a\nb\r\nc\rd\u2028e\x0bf\n") == ["a", "b", "c", "d\u2028e\x0bf"]


@pytest.mark.parametrize(("name", "kind"), [("A.TSV.gz", ".tsv"), ("a.b.jsonl", ".jsonl"), ("x.gz", ""), ("x", "")])
def test_the_ending_of_a_name(name, kind):
    assert ending(name) == kind
