from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.config import as_mapping, from_mapping
from recurra.data import KINDS, Corpus, DataConfig
from recurra.data.counting import counting_text
from recurra.errors import ConfigError, CorpusError, RecurraError, VocabularyError

TEXT = "The quick brown fox jumps over the lazy dog.\r\nA second line, of cafe\u0301s.\r\n" * 20


def decoded(corpus: Corpus) -> tuple[str, str]:
    return corpus.tokenizer.decode(corpus.train.ids), corpus.tokenizer.decode(corpus.valid.ids)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_file_becomes_two_mapped_parts(tmp_path: Path, kind: str) -> None:
    (tmp_path / "story.txt").write_bytes(TEXT.encode())
    corpus = Corpus.from_file(tmp_path / "story.txt", tokenizer=kind)
    assert corpus.name == "story"
    assert corpus.vocabulary is corpus.tokenizer
    assert isinstance(corpus.train.ids, np.memmap)
    if kind != "word":
        assert "".join(decoded(corpus)) == TEXT
    assert corpus.train.num_chars is not None
    assert corpus.valid.num_chars is not None
    assert corpus.train.num_chars + corpus.valid.num_chars == len(TEXT)
    assert 0.08 < corpus.valid.num_chars / len(TEXT) < 0.12


@given(st.text("ab \r\né", min_size=50, max_size=200), st.sampled_from(sorted(KINDS)), st.floats(0.2, 0.8))
def test_no_character_is_lost_between_the_parts(text: str, kind: str, valid: float) -> None:
    try:
        corpus = Corpus.from_text(text, tokenizer=kind, valid=valid)
    except RecurraError:
        assert kind == "word", "few words may leave a part too short, or hold nothing but unseen ones"
        return
    if kind == "word":
        assert (
            " ".join(decoded(corpus)).count("\n") == len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")) - 1
        )
    elif corpus.tokenizer.unknown is None:
        assert "".join(decoded(corpus)) == text


def test_customary_splits_are_exact() -> None:
    corpus = Corpus.from_text("ab\n" * 371_798)
    assert (len(corpus.train), len(corpus.valid)) == (1_003_854, 111_540)
    assert len(Corpus.from_text("abc" * 10, valid=0).train) == 30
    assert len(Corpus.from_text("abc" * 10, valid=0.0).valid) == 0


def test_a_validation_file(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("aab" * 10)
    (tmp_path / "valid.txt").write_text("abz" * 10)
    corpus = Corpus.from_file(tmp_path / "train.txt", valid=tmp_path / "valid.txt")
    assert decoded(corpus) == ("aab" * 10, "ab<unk>" * 10)
    assert corpus.notes == [
        "10 of 30 characters in the validation part of train are not in the vocabulary and are read as <unk>: 'z' 10"
    ]
    (tmp_path / "valid.txt").write_text("xyz" * 10)
    with pytest.raises(VocabularyError, match="30 of 30 characters"):
        Corpus.from_file(tmp_path / "train.txt", valid=tmp_path / "valid.txt")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_document_ends_with_the_end_of_text(tmp_path: Path, kind: str) -> None:
    documents = ["one two\n", "two one\n", "two one two one two one two one two one\n"]
    for number, text in enumerate(documents):
        (tmp_path / f"{number}.txt").write_text(text)
    corpus = Corpus.from_file(tmp_path, tokenizer=kind, valid=0)
    tokens, end = corpus.train, corpus.vocabulary.end
    assert end is not None
    stops = [*tokens.documents[1:], len(tokens)]
    parts = [tokens.ids[start:stop] for start, stop in zip(tokens.documents, stops, strict=True)]
    assert [int((part == end).sum()) for part in parts] == [1, 1, 1]
    assert [int(part[-1]) for part in parts] == [end] * 3
    if kind != "word":
        assert [corpus.tokenizer.decode(part[:-1]) for part in parts] == documents

    torn = Corpus.from_file(tmp_path, tokenizer=kind, valid=0.4)
    assert np.flatnonzero(torn.train.ids == torn.vocabulary.end).tolist() == [p - 1 for p in torn.train.documents[1:]]
    assert torn.train.ids[-1] != torn.vocabulary.end
    assert torn.valid.documents.tolist() == [0]


def test_an_earlier_tokenizer_reads_another_text() -> None:
    everything = DataConfig(valid=0.0)
    digits = Corpus.from_text("0123456789 .\n" * 9, valid=0).tokenizer
    with pytest.raises(VocabularyError, match="in counting are not in the vocabulary"):
        Corpus.build(everything, tokenizer=digits)
    letters = Corpus.from_text(TEXT.replace(".", ""), valid=0).tokenizer
    corpus = Corpus.build(everything, tokenizer=letters)
    assert corpus.tokenizer is letters
    assert decoded(corpus)[0] == counting_text().replace(".", "")
    assert corpus.notes[0].endswith("and are left out: '.' 9,997")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_saving_and_loading(tmp_path: Path, kind: str) -> None:
    corpus = Corpus.from_text([TEXT, TEXT], tokenizer=kind, name="twice")
    corpus.save(tmp_path / "tokens")
    loaded = Corpus.load(tmp_path / "tokens", verify=True)
    assert (loaded.name, loaded.notes, repr(loaded)) == ("twice", corpus.notes, repr(corpus))
    assert loaded.config == corpus.config
    assert loaded.tokenizer.digest == corpus.tokenizer.digest
    for old, new in ((corpus.train, loaded.train), (corpus.valid, loaded.valid)):
        assert (old.ids == new.ids).all()
        assert old.documents.tolist() == new.documents.tolist()
        assert old.num_chars == new.num_chars


def test_saved_corpora_that_cannot_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    with pytest.raises(CorpusError, match="no saved corpus"):
        Corpus.load(folder)
    Corpus.from_text(TEXT).save(folder)
    with pytest.raises(CorpusError, match="exists already"):
        Corpus.from_text(TEXT).save(folder)
    (folder / "corpus.json").write_text('{"version": 9, "name": "x", "notes": []}')
    with pytest.raises(CorpusError, match="version 9"):
        Corpus.load(folder)
    for content in ("", "{}", "[]"):
        (folder / "corpus.json").write_text(content)
        with pytest.raises(CorpusError, match="damaged"):
            Corpus.load(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "empty"), ("a", "at least 2"), ("abc", "2 \\+ 1 tokens"), ("ab\ud800" * 9, "half a surrogate pair")],
)
def test_texts_that_are_too_little(text: str, said: str) -> None:
    with pytest.raises(CorpusError, match=said):
        Corpus.from_text(text)


def test_bytes_never_pass_through_str(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4
    corpus = Corpus.from_bytes(data, valid=0)
    assert corpus.train.ids.tobytes() == data
    assert corpus.train.num_chars is None
    (tmp_path / "data.bin").write_bytes(data)
    assert Corpus.from_file(tmp_path / "data.bin", tokenizer="byte", valid=0).train.ids.tobytes() == data
    with pytest.raises(CorpusError, match="NUL byte at byte offset 0"):
        Corpus.from_file(tmp_path / "data.bin")


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer": "chars"},
        {"vocab": 1},
        {"vocab": -3},
        {"vocab": 10**12},
        {"valid": 1.0},
        {"valid": 1},
        {"valid": -0.1},
        {"valid": "nan"},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        DataConfig(**settings)


def test_settings_survive_a_file() -> None:
    assert DataConfig(valid="0.25").valid == 0.25
    rest = {"balance": 0.0, "skip_bad": False}
    assert as_mapping(DataConfig().resolved()) == {"source": "counting", "tokenizer": "word", "valid": 0.2, **rest}
    config = DataConfig(source="x.txt", valid="valid.txt", vocab=300).resolved()
    assert config.tokenizer == "char"
    assert from_mapping(DataConfig, as_mapping(config)) == config


def test_a_file_may_be_called_like_a_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counting").write_text("abc" * 20)
    assert len(Corpus.from_file("counting").vocabulary) == 3
    assert Corpus.from_text("abc" * 20, name="counting", valid=0.5).train.num_chars == 30


def test_published_counts_of_penn_treebank(shared_data: Path) -> None:
    text = gzip.decompress((shared_data / "ptb" / "ptb.train.txt.gz").read_bytes()).decode()
    corpus = Corpus.from_text(text, tokenizer="word", valid=shared_data / "ptb" / "ptb.valid.txt")
    assert (len(corpus.train), len(corpus.valid), len(corpus.vocabulary)) == (929_589, 73_760, 10_000)
    assert corpus.notes == []


def test_published_counts_of_tiny_shakespeare(shared_data: Path) -> None:
    corpus = Corpus.from_file(shared_data / "tinyshakespeare" / "input.txt")
    assert (len(corpus.train), len(corpus.valid), len(corpus.vocabulary)) == (1_003_854, 111_540, 65)


LONG = ("zh-hongloumeng.txt", "ja-wagahai-neko.txt")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, kind) for name in LONG for kind in ("char", "byte", "word")),
        *(("udhr", kind) for kind in sorted(KINDS)),
    ],
)
def test_texts_in_any_script(shared_data: Path, name: str, kind: str) -> None:
    path = shared_data / "multilingual" / name
    corpus = Corpus.from_file(path, tokenizer=kind, valid=0)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    text = "<eot>".join(file.read_bytes().decode() for file in files) + "<eot>" * path.is_dir()
    assert corpus.train.num_chars == len(text.replace("<eot>", ""))
    if kind == "word":
        assert len(corpus.train) == len((text + " ").replace("<eot>", " <eot> ").replace("\n", " <eos> ").split())
    else:
        assert decoded(corpus)[0] == text


def test_characters_that_are_left_out_are_not_counted(tmp_path: Path) -> None:
    known = Corpus.from_text("abcabcabc", valid=0).tokenizer
    (tmp_path / "other.txt").write_text("abcxyab")
    corpus = Corpus.build(DataConfig(source=str(tmp_path / "other.txt"), valid=0), tokenizer=known)
    assert corpus.train.num_chars == len(corpus.train) == 5
    assert corpus.notes == ["2 of 7 characters in other are not in the vocabulary and are left out: 'x' 1, 'y' 1"]
