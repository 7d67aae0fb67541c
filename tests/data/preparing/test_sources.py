"""Files of every kind, and what is wrong with them: one line with the file, the place, and what to do."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recurra.data import Corpus, prepare
from recurra.data.preparing import planning, reading
from recurra.errors import ConfigError, CorpusError, RecurraError

TEXTS = ["the first document\nhas two lines", "a second, é", "third " * 50, "and the last one of them"]


def lines(texts: list[str]) -> bytes:
    return "".join(json.dumps({"number": n, "text": text}) + "\n" for n, text in enumerate(texts)).encode()


def write_parquet(path: Path, texts: list[Any], **settings: Any) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"number": list(range(len(texts))), "text": texts}), path, **settings)
    return path


def expected(store: Path, texts: list[str] = TEXTS) -> None:
    corpus, memory = Corpus.load(store, verify=True), Corpus.from_text(texts)
    for part in ("train", "valid"):
        assert getattr(corpus, part).ids.tolist() == getattr(memory, part).ids.tolist()
        assert getattr(corpus, part).documents.tolist() == getattr(memory, part).documents.tolist()


def test_lines_of_json_packed_and_not(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    frames = [zstandard.ZstdCompressor().compress(part) for part in (lines(TEXTS)[:40], lines(TEXTS)[40:])]
    for name, data in {
        "a.jsonl": lines(TEXTS),
        "a.jsonl.gz": gzip.compress(lines(TEXTS)),
        "a.ndjson.zst": b"".join(frames),
    }.items():
        (tmp_path / name).write_bytes(data)
        expected(prepare(tmp_path / name, tmp_path / f"{name}.store").path)


@pytest.mark.parametrize("size", [1, 64, 1 << 26])
def test_lines_are_whole_wherever_a_file_is_cut(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "JOB", size)
    (tmp_path / "a.jsonl").write_bytes(lines(TEXTS))
    expected(prepare(tmp_path / "a.jsonl", tmp_path / "store").path)


def test_packed_texts(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.txt.gz").write_bytes(gzip.compress(TEXTS[0].encode()) + gzip.compress(b""))
    (tmp_path / "in" / "1").write_bytes(TEXTS[1].encode())
    (tmp_path / "in" / "2.md.zst").write_bytes(zstandard.ZstdCompressor().compress(TEXTS[2].encode()))
    (tmp_path / "in" / "3.txt").write_bytes(TEXTS[3].encode())
    (tmp_path / "in" / "4.txt").write_bytes(b"")
    (tmp_path / "in" / "5.pdf").write_bytes(b"%PDF")
    (tmp_path / "in" / "6.dat").write_bytes(b"\0\1")
    done = prepare(tmp_path / "in", tmp_path / "store")
    expected(done.path)
    assert done.notes[0].endswith("4.txt (empty), 5.pdf (.pdf), 6.dat (not text)")


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_parquet(tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "JOB", 100)
    expected(prepare(write_parquet(tmp_path / "a.parquet", TEXTS, row_group_size=rows), tmp_path / "store").path)


def test_a_data_set_of_hugging_face(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    made = datasets.Dataset.from_dict({"text": TEXTS, "number": [1, 2, 3, 4]})
    made.save_to_disk(tmp_path / "rows")
    datasets.DatasetDict(test=made).save_to_disk(tmp_path / "parts")
    expected(prepare(f"hf:{tmp_path / 'rows'}", tmp_path / "store").path)
    expected(prepare(f"hf:{tmp_path / 'parts'}:test", tmp_path / "store-2").path)
    with pytest.raises(CorpusError, match="datasets cannot open hf:"):
        prepare(f"hf:{tmp_path / 'parts'}:train", tmp_path / "none")


def test_rows_without_a_text_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": null}\n\n{"text": ""}\n"one text"\n{"text": "and another"}')
    done = prepare(tmp_path / "a.jsonl", tmp_path / "store")
    assert (done.documents, done.notes[0]) == (2, "2 rows without a text were left out")
    expected(done.path, ["one text", "and another"])


def test_another_column(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS))
    expected(prepare(tmp_path / "a.jsonl", tmp_path / "store", input="body").path)


def file(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def truncated_zst(folder: Path) -> Path:
    data = pytest.importorskip("zstandard").ZstdCompressor().compress(TEXTS[2].encode() * 9)
    return file("a.txt.zst", data[:-5])(folder)


def broken_parquet(folder: Path) -> Path:
    path = write_parquet(folder / "a.parquet", TEXTS, compression="none")
    path.write_bytes(path.read_bytes()[:-7])
    return path


def broken_pages(folder: Path) -> Path:
    path = write_parquet(folder / "a.parquet", TEXTS, compression="zstd")
    data = bytearray(path.read_bytes())
    data[4:160] = bytes(156)
    path.write_bytes(data)
    return path


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (file("a.txt", b""), "a.txt is empty; give a text"),
    "nothing in it": (file("a.jsonl", b"\n\n"), "there is no text in these files"),
    "missing": (lambda folder: folder / "none.txt", "none.txt does not exist"),
    "extension": (file("a.docx", b"PK"), "a.docx is not read here: it ends with .docx"),
    "archive": (file("a.tar.gz", b"PK"), "a.tar.gz is not read here"),
    "packed parquet": (file("a.parquet.gz", b"PK"), "a.parquet.gz is not read here"),
    "nul": (file("a.txt", b"text\0"), "a.txt is not text: NUL byte at byte offset 4"),
    "utf-8": (file("a.txt", b"caf\xe9 au lait"), "a.txt is not UTF-8: byte 0xe9 at byte offset 3"),
    "utf-8 at the end": (file("a.txt", b"caf\xc3"), "a.txt is not UTF-8: byte 0xc3 at byte offset 3"),
    "hidden gzip": (file("a.txt", gzip.compress(b"text")), "a.txt is compressed with gzip"),
    "no gzip": (file("a.txt.gz", b"text"), "a.txt.gz is damaged: Not a gzipped file"),
    "gzip cut short": (
        file("a.txt.gz", gzip.compress(b"text" * 99)[:-9]),
        "a.txt.gz is damaged: Compressed file ended",
    ),
    "gzip utf-8": (file("a.txt.gz", gzip.compress(b"caf\xe9 x")), "a.txt.gz is not UTF-8: byte 0xe9 at byte offset 3"),
    "no zst": (file("a.txt.zst", b"text"), "a.txt.zst is damaged"),
    "zst cut short": (truncated_zst, "a.txt.zst is damaged: it ends within a frame"),
    "no parquet": (file("a.parquet", b"text"), "a.parquet is damaged, or no Parquet"),
    "parquet cut short": (broken_parquet, "a.parquet is damaged, or no Parquet"),
    "parquet pages": (broken_pages, "a.parquet is damaged"),
    "no json": (file("a.jsonl", b'"a"\n{"text": \n'), "a.jsonl, line 2: not JSON"),
    "no column": (file("a.jsonl", b'"a"\n{"body": "b"}'), "a.jsonl, line 2: no column 'text', but body; name"),
    "a number": (file("a.jsonl", b'{"text": 7}'), "a.jsonl, line 1: a int where a text is needed"),
    "json utf-8": (file("a.jsonl", b'"a"\n"\xe9"'), "a.jsonl is not UTF-8: byte 0xe9 at byte offset 5"),
    "surrogate": (file("a.jsonl", b'"\\ud800"'), "a.jsonl holds half a surrogate pair"),
    "deep": (file("a.jsonl", b"[" * 100_000), "a.jsonl, line 1: not JSON"),
    "packed json": (file("a.jsonl.gz", gzip.compress(b'"a"\n"b"\n{')), "a.jsonl.gz, line 3: not JSON"),
    "white space": (file("a.txt", b" \t "), "nothing but white space"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(tmp_path: Path, case: str) -> None:
    make, said = WRONG[case]
    kind = "word" if case == "white space" else "char"
    with pytest.raises(CorpusError) as error:
        prepare(make(tmp_path), tmp_path / "store", tokenizer=kind)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "store").exists()


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", TEXTS)
    with pytest.raises(CorpusError, match="no column of texts 'number'; it has: text"):
        prepare(path, tmp_path / "store", input="number")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(CorpusError, match="names a column, but there are only plain texts"):
        prepare(tmp_path / "a.txt", tmp_path / "store", input="text")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"processes": 0}, "'processes' must be at least 1"),
        ({"shard_tokens": 0}, "'shard_tokens' must be at least 1"),
        ({"tokenizer": "chars"}, "did you mean 'char'"),
        ({"tokenizer": "byte", "vocab": 9}, "no meaning for the 256 bytes"),
        ({"valid": 1.0}, "'valid' is a fraction"),
        ({"tokenizr": "byte"}, "did you mean 'tokenizer'"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    (tmp_path / "a.txt").write_text("text " * 9)
    with pytest.raises(ConfigError, match=said):
        prepare(tmp_path / "a.txt", tmp_path / "store", **settings)


def test_a_vocabulary_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcd " * 9)
    (tmp_path / "b.txt").write_text("abcd xyz ")
    first = prepare(tmp_path / "a.txt", tmp_path / "first")
    second = prepare(tmp_path / "b.txt", tmp_path / "second", vocabulary=first.path, valid=0)
    assert second.notes == [
        "3 of 9 characters in the training part are not in the vocabulary and are left out: 'x' 1, 'y' 1, 'z' 1"
    ]
    memory = Corpus.from_file(tmp_path / "b.txt", tokenizer=Corpus.load(first.path).tokenizer, valid=0)
    found = Corpus.load(second.path)
    assert found.train.ids.tolist() == memory.train.ids.tolist()
    assert found.train.num_chars == memory.train.num_chars
    with pytest.raises(ConfigError, match="so leave out 'vocab'"):
        prepare(tmp_path / "b.txt", tmp_path / "third", vocabulary=first.path, vocab=5)
    with pytest.raises(RecurraError, match="cannot read the tokenizer"):
        prepare(tmp_path / "b.txt", tmp_path / "third", vocabulary=tmp_path / "none")


def test_a_stretch_is_never_much_longer_than_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 1000)
    (tmp_path / "a.txt").write_text("word " * 9000)
    (tmp_path / "a.jsonl").write_text('"word word"\n' * 5000)
    longest = 0

    def spy(original: Any) -> Any:
        def encode(self: Any, stretch: Any) -> Any:
            nonlocal longest
            longest = max(longest, sum(map(len, stretch.texts)))
            return original(self, stretch)

        return encode

    from recurra.data.preparing.encoding import Encoder

    monkeypatch.setattr(Encoder, "encode", spy(Encoder.encode))
    prepare([tmp_path / "a.txt", tmp_path / "a.jsonl"], tmp_path / "store", tokenizer="word")
    assert 900 < longest <= 1010
