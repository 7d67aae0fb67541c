from __future__ import annotations

import json
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as HFTokenizer

from recurra.data import KINDS, Tokenizer, build_tokenizer, check_seen, load_tokenizer
from recurra.errors import ConfigError, CorpusError, VocabularyError

SAMPLE = (
    "\ufeffThe quick brown fox\tjumps over\r\nthe lazy dog. the dog\n\ncafe\u0301 naïve <unk> <eot> <eos>\r"
    "漢字 かな 한국어 עברית ไทย 👩‍👩‍👧 I'll we've  two   spaces \n"
)
LOSSLESS = ("char", "byte", "bpe")
texts = st.text(st.characters(exclude_categories=["Cs"]))
SPACES = "".join(chr(code) for code in range(0x3100) if chr(code).isspace()) + "\x1c\x1d\x1e\x1f\u180e\u200b\ufeff"


@pytest.fixture(scope="module", params=sorted(KINDS))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return build_tokenizer(request.param, [SAMPLE, SAMPLE], end=True)


@given(texts)
@example(SAMPLE)
@pytest.mark.parametrize("kind", LOSSLESS)
def test_any_text_survives(kind: str, text: str) -> None:
    tokenizer = build_tokenizer(kind, text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert (tokenizer.encode(text.encode()) == ids).all()


@given(st.binary())
def test_any_bytes_survive(data: bytes) -> None:
    tokenizer = build_tokenizer("byte", "")
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data
    assert tokenizer.encode(data).tolist() == list(data)


@given(texts)
@example(SAMPLE)
def test_words_survive_up_to_white_space(text: str) -> None:
    tokenizer = build_tokenizer("word", text)
    ids = tokenizer.encode(text)
    assert (tokenizer.encode(tokenizer.decode(ids)) == ids).all() or "\ufeff" in text
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("<eos>", "\n").split("\n")
    assert [line.split() for line in tokenizer.decode(ids).split("\n")] == [line.split() for line in lines]


@given(texts, texts)
@example(SAMPLE, SAMPLE)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_saved_file_gives_the_library_the_same_ids(kind: str, known: str, text: str) -> None:
    tokenizer = build_tokenizer(kind, known, valid=text)
    library = HFTokenizer.from_str(tokenizer.backend.to_str())
    assert library.encode(known).ids == tokenizer.encode(known).tolist()
    if kind != "word" or tokenizer.unknown is not None:  # the library refuses words that it does not know
        assert library.encode(text).ids == tokenizer.encode(text).tolist()


@given(st.text(SPACES + "a!1'"))
@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_library_agrees_on_white_space(kind: str, text: str) -> None:
    tokenizer = build_tokenizer(kind, [text, "a! 1 'a"])
    assert tokenizer.backend.encode(text).ids == tokenizer.encode(text).tolist()


def test_pieces_of_bpe_cross_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = build_tokenizer("bpe", SAMPLE * 5, vocab=300)
    monkeypatch.setattr("recurra.data.tokenizers.byte_level.CHUNK", 7)
    assert tokenizer.encode(SAMPLE * 3).tolist() == tokenizer.backend.encode(SAMPLE * 3).ids
    assert build_tokenizer("bpe", SAMPLE * 5, vocab=300).digest == tokenizer.digest


def test_saving_and_loading(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = load_tokenizer(path)
    assert (type(loaded), loaded.kind, loaded.digest) == (type(tokenizer), tokenizer.kind, tokenizer.digest)
    assert (loaded.names, loaded.unknown, loaded.end) == (tokenizer.names, tokenizer.unknown, tokenizer.end)
    assert HFTokenizer.from_file(str(path)).encode(SAMPLE).ids == loaded.encode(SAMPLE).tolist()
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


def test_streaming_joins_to_the_whole(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(SAMPLE)
    assert b"".join(tokenizer.decode_bytes([i]) for i in ids) == tokenizer.decode_bytes(ids)


def test_every_token_has_a_printable_name(tokenizer: Tokenizer) -> None:
    for token in range(len(tokenizer)):
        assert tokenizer.symbol(token).isprintable()
        assert tokenizer.symbol(token)
    assert tokenizer.symbol(tokenizer.start) == "\\n"
    assert tokenizer.end is not None
    assert tokenizer.symbol(tokenizer.end).rstrip("␣") == "<eot>"


def test_specials_exist_only_when_used() -> None:
    assert build_tokenizer("char", "abc abc").unknown is None
    assert build_tokenizer("char", "abc abc").end is None
    assert build_tokenizer("char", "abc <unk>").unknown is None, "five characters like any other"
    assert build_tokenizer("char", "abc", valid="abcd").unknown == 3
    assert build_tokenizer("word", "a a b", valid="a").unknown is None
    assert build_tokenizer("word", "a <unk> a").names == ["a", "<unk>"]
    assert build_tokenizer("word", "a a b", valid="a c").names == ["a", "<unk>"], "the unknown word is learned from b"
    assert build_tokenizer("word", "a a <unk> b", valid="a c").names == ["a", "<unk>", "b"]
    assert len(build_tokenizer("byte", "a")) == 256
    assert build_tokenizer("byte", "a", end=True).end == 256
    for kind in KINDS:
        assert build_tokenizer(kind, ["a", "b"], end=True).end is not None


def test_vocabulary_cuts_off_the_rarest() -> None:
    assert build_tokenizer("char", "aaabbc", vocab=3).names == ["a", "b", "c"]
    assert build_tokenizer("char", "aaabbcd", vocab=3).names == ["a", "b", "<unk>"]
    assert build_tokenizer("word", "a a a b b c\nd", vocab=4).names == ["a", "b", "<eos>", "<unk>"]
    assert build_tokenizer("word", "a a a b b c\nd", vocab=5, end=True).names == ["a", "b", "<eos>", "<unk>", "<eot>"]
    assert len(build_tokenizer("bpe", SAMPLE * 9, vocab=280, end=True)) == 280


def test_generation_starts_somewhere() -> None:
    assert build_tokenizer("char", "aab\n").start == 1
    assert build_tokenizer("char", "aab", end=True).start == 2
    assert build_tokenizer("char", "abb").start == 0
    assert build_tokenizer("word", "<unk> <unk> a").start == 1
    assert build_tokenizer("byte", "").start == 10


def test_unseen_symbols() -> None:
    with_unknown = build_tokenizer("char", "abcdef", valid="x")
    without = build_tokenizer("char", "abcdef")
    assert with_unknown.decode(with_unknown.encode("abxa")) == "ab<unk>a"
    assert without.decode(without.encode("abxa")) == "aba"
    assert without.unseen("axxéa") == {"x": 2, "é": 1}
    line = check_seen(without, "abcdefabcdef" + "ttuvwxyz", "the prompt")
    assert line is not None
    assert line.startswith("8 of 20 characters in the prompt are not in the vocabulary and are left out: 't' 2, 'u' 1")
    assert line.endswith("and 2 others")
    assert check_seen(without, "abc", "x") is None
    assert check_seen(build_tokenizer("bpe", ""), "anything", "x") is None
    words = build_tokenizer("word", "the cat the dog", valid="the bird")
    assert words.unseen("the bird the\n") == {"bird": 1, "<eos>": 1}
    assert "read as <unk>" in (check_seen(words, ["the the the", "bird"], "x") or "")
    with pytest.raises(VocabularyError, match="3 of 4 characters in x") as error:
        check_seen(without, "aXYZ", "x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("chars", {}), ("byte", {"vocab": 300}), ("bpe", {"vocab": 255}), ("bpe", {"vocab": 256, "end": True})],
)
def test_bad_settings(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build_tokenizer(kind, "text", **settings)


def _drop(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda file: file.pop(key)


def _gap(file: dict[str, Any]) -> None:
    file["model"]["vocab"] = {name: i + (i > 0) for name, i in file["model"]["vocab"].items()}


def _model(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda file: file["model"].update(values)


@pytest.mark.parametrize(
    "damage",
    [
        _drop("model"),
        _drop("pre_tokenizer"),
        _drop("added_tokens"),
        _gap,
        _model(type="Unigram"),
        _model(vocab={}),
        _model(vocab=[1]),
        _model(vocab={"a": "b"}),
        _model(type="BPE", merges=[["no", "pair"]]),
        lambda file: file.update(version="99.0"),
        lambda file: file.update(added_tokens=[{"id": 0, "content": "x"}]),
        lambda file: file.update(decoder={"type": "Nonsense"}),
    ],
)
def test_damaged_files(tokenizer: Tokenizer, tmp_path: Path, damage: Callable[[dict[str, Any]], object]) -> None:
    path = tmp_path / "tokenizer.json"
    file = json.loads(tokenizer.backend.to_str())
    damage(file)
    path.write_text(json.dumps(file))
    with pytest.raises(VocabularyError) as error:
        load_tokenizer(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_files_that_are_no_tokenizer(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VocabularyError, match=r"tokenizer\.json"):
        load_tokenizer(path)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_half_a_surrogate_pair(kind: str) -> None:
    tokenizer = build_tokenizer(kind, "abc")
    if tokenizer.can_miss:
        assert tokenizer.unseen("\ud800") == {"\ud800": 1}
    else:
        with pytest.raises(CorpusError, match="half a surrogate pair at character 1"):
            tokenizer.encode("a\ud800")


def test_every_code_point_is_a_character() -> None:
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]))
    tokenizer = build_tokenizer("char", string.printable)
    assert tokenizer.decode(tokenizer.encode(text)) == "".join(c for c in text if c in string.printable)


@pytest.mark.parametrize("kind", ["char", "word"])
def test_an_unknown_token_that_is_asked_for_is_there(kind):
    tokenizer = build_tokenizer(kind, "a b a b c", unknown=True, end=True)
    assert tokenizer.encode("x").tolist() == [tokenizer.unknown]
    assert build_tokenizer(kind, "a b a b c").unknown is None
    assert len(build_tokenizer(kind, "a b a b c", unknown=True, end=True, vocab=4)) == 4


def test_words_that_come_once_teach_the_unknown_token_unless_nothing_else_is_left():
    assert build_tokenizer("word", "a b a b c", unknown=True).names == ["a", "b", "<unk>"]
    assert build_tokenizer("word", "a b c", unknown=True).names == ["a", "b", "c", "<unk>"]
    assert build_tokenizer("word", "a b a b c", unknown=True, vocab=10).names == ["a", "b", "c", "<unk>"]
