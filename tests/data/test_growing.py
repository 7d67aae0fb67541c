"""A vocabulary that grows: old ids keep their meaning, new symbols come behind them, the saved form round-trips."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HFTokenizer

from recurra.data import KINDS, Corpus, build_tokenizer, load_tokenizer
from recurra.errors import ConfigError

OLD = "the cat sat on the mat\nthe dog sat\n"
SOME = ["the", "cat", "dog", "bird", "flew", "high", "<unk>", "<eot>", "éa", "漢", "a"]
words = st.lists(st.sampled_from(SOME), max_size=30).map(" ".join)
kinds = pytest.mark.parametrize("kind", sorted(KINDS))


@kinds
@settings(max_examples=25, deadline=None)  # tables of all characters are large
@given(old=words, new=words, valid=words, end=st.booleans())
def test_old_ids_stay_and_new_ones_follow(kind, old, new, valid, end):
    tokenizer = build_tokenizer(kind, old or "x")
    grown = tokenizer.grown(new, valid=valid, end=end)
    assert grown.names[: len(tokenizer)] == tokenizer.names
    assert list(grown.ids.values()) == list(range(len(grown)))
    assert type(grown) is type(tokenizer)
    assert (grown.encode(old) == tokenizer.encode(old)).all() or grown.unknown != tokenizer.unknown
    if end:
        assert grown.end is not None
    if grown.unknown is None:
        assert not grown.unseen(new)
        assert not grown.unseen(valid)
    else:
        assert len(grown.encode(new)) == len(grown.lookup(new))


@kinds
@settings(max_examples=25, deadline=None)
@given(new=words, valid=words.filter(lambda text: "<unk>" not in text))
def test_growing_twice_by_the_same_text_adds_nothing(kind, new, valid):
    grown = build_tokenizer(kind, OLD).grown(new, valid=valid, end=True)
    assert grown.grown(new, valid=valid, end=True) is grown


@kinds
def test_what_is_saved_is_read_again(kind, tmp_path):
    grown = build_tokenizer(kind, OLD).grown("a bird flew, a bird 漢\n", valid="Ω ψ", end=True)
    grown.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert (again.kind, again.names, again.unknown, again.end) == (kind, grown.names, grown.unknown, grown.end)
    assert again.digest == grown.digest
    text = "the bird flew on the mat\nzebra 漢"
    assert (again.encode(text) == grown.encode(text)).all()
    if kind == "word":  # the library reads the file as we do
        assert HFTokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids == grown.encode(text).tolist()


def test_new_symbols_come_by_their_number():
    assert build_tokenizer("word", OLD).grown("b a b c c c the a b").names[-3:] == ["b", "c", "a"]
    assert build_tokenizer("char", OLD).grown("zz!!!the").names[-2:] == ["!", "z"]


def test_words_of_one_place_stay_unknown_where_there_are_unknown_ones_to_meet():
    tokenizer = build_tokenizer("word", OLD)
    assert tokenizer.unknown is None
    assert tokenizer.grown("bird bird flew").names[-2:] == ["bird", "flew"]
    assert tokenizer.grown("bird bird flew", valid="high").names[-2:] == ["bird", "<unk>"]
    knows = build_tokenizer("word", OLD, unknown=True)
    assert knows.grown("bird bird flew", valid="high").names[-1] == "bird"
    assert build_tokenizer("char", OLD).grown("zzy", valid="x").names[-3:] == ["z", "y", "<unk>"]


def test_the_largest_number_of_tokens():
    tokenizer = build_tokenizer("word", OLD)
    grown = tokenizer.grown("b b b c c d", vocab=len(tokenizer) + 2)
    assert grown.names[len(tokenizer) :] == ["b", "<unk>"]
    assert grown.grown("c c d", vocab=len(grown)) is grown
    with pytest.raises(ConfigError, match=r"has 7 tokens and needs 1 more"):
        tokenizer.grown("b", vocab=len(tokenizer))
    with pytest.raises(ConfigError, match=r"'vocab' is 3"):
        tokenizer.grown("the", vocab=3)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_bytes_do_not_grow(kind):
    tokenizer = build_tokenizer(kind, OLD)
    assert tokenizer.grown("漢 entirely new") is tokenizer
    with pytest.raises(ConfigError, match="misses nothing"):
        tokenizer.grown("new", vocab=1000)


def test_a_corpus_grows_by_its_training_part_alone():
    tokenizer = build_tokenizer("word", OLD * 2, unknown=True)
    corpus = Corpus.from_text("bird bird " * 9 + "zebra bird", tokenizer=tokenizer, grow=True)
    assert corpus.tokenizer.names == [*tokenizer.names, "bird"]
    assert "'zebra' 1" in corpus.notes[-1]
    fixed = Corpus.from_text("the cat sat on a dog sat", tokenizer=tokenizer, valid=0.0)
    assert fixed.tokenizer is tokenizer
    with pytest.raises(ConfigError, match="leave grow out"):
        Corpus.from_text("the cat", tokenizer="word", grow=True)


def test_several_documents_need_an_end():
    tokenizer = build_tokenizer("char", OLD)
    corpus = Corpus.from_text(["the cat", "the dog"], tokenizer=tokenizer, grow=True, valid=0.0)
    assert corpus.tokenizer.end == len(tokenizer)
    assert corpus.train.ids.tolist().count(len(tokenizer)) == 2
