from __future__ import annotations

import hashlib

import pytest

from recurra.data import Corpus, DataConfig
from recurra.data.counting import counting_text, in_words, train_text, valid_text


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (1, "one"),
        (19, "nineteen"),
        (20, "twenty"),
        (99, "ninety nine"),
        (101, "one hundred one"),
        (110, "one hundred ten"),
        (8001, "eight thousand one"),
        (8123, "eight thousand one hundred twenty three"),
        (9000, "nine thousand"),
    ],
)
def test_numbers_in_words(n: int, words: str) -> None:
    assert in_words(n) == words


@pytest.mark.parametrize(
    ("text", "size", "digest"),
    [(train_text(), 280_599, "194a5defcc1e77a1"), (valid_text(), 74_884, "3a3e30cd8eddcd27")],
)
def test_the_two_files(text: str, size: int, digest: str) -> None:
    assert len(text) == size
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


def test_the_corpus_is_the_one_of_the_published_table() -> None:
    corpus = Corpus.counting()
    assert (len(corpus.train), len(corpus.valid), len(corpus.vocabulary)) == (50_476, 12_619, 30)
    assert corpus.vocabulary.unknown is None
    assert corpus.vocabulary.end is None
    assert corpus.notes == []
    words = counting_text().split(" ")
    ids = [*corpus.train.ids, *corpus.valid.ids]
    assert [corpus.vocabulary.names[i] for i in ids] == words
    assert (corpus.train.num_chars or 0) + (corpus.valid.num_chars or 0) == len(counting_text())


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_other_tokenizers_see_the_same_text(kind: str) -> None:
    corpus = Corpus.build(DataConfig(tokenizer=kind, vocab=300 if kind == "bpe" else None))
    decoded = corpus.tokenizer.decode(corpus.train.ids) + corpus.tokenizer.decode(corpus.valid.ids)
    assert decoded == counting_text()
    assert corpus.train.num_chars == Corpus.counting().train.num_chars
