"""Words with labels, a word in each line."""

import pytest

from recurra.data.examples.conll import looks_like_conll, read_conll
from recurra.data.examples.tables import Columns
from recurra.errors import DataError

CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n"
UNIVERSAL = (
    "# text = vámonos al\n1-2\tvámonos\t_\t_\t_\n1\tvamos\tir\tVERB\t_\n2\tnos\t-\tPRON\t_\n"
    "2.1\tx\t_\tX\t_\n3\tal\ta\tADP\t_\n\n1\tMar\tmar\tNOUN\t_\n"
)


def test_the_first_column_is_read_and_the_last_said():
    rows = read_conll(CONLL, "c", Columns())
    assert [row[:3] for row in rows] == [
        (["EU", "rejects"], ["B-ORG", "O"], "c, line 3"),
        (["Peter"], ["B-PER"], "c, line 7"),
    ]


def test_columns_are_asked_for_by_number():
    rows = read_conll(CONLL, "c", Columns(input="2", target="1"))
    assert rows[0][:2] == (["NNP", "VBZ"], ["EU", "rejects"])
    with pytest.raises(DataError, match=r"c: its columns have numbers, the first is 1, not 'word'"):
        read_conll(CONLL, "c", Columns(input="word"))


def test_universal_dependencies():
    rows = read_conll(UNIVERSAL, "c", Columns(), universal=True)
    assert [row[:2] for row in rows] == [(["vamos", "nos", "al"], ["VERB", "PRON", "ADP"]), (["Mar"], ["NOUN"])]


def test_a_word_with_a_number_sign_is_a_word():
    rows = read_conll("# O\ntag X\n", "c", Columns())
    assert rows[0][:2] == (["#", "tag"], ["O", "X"])


def test_a_line_without_a_label_is_a_fault_of_its_sentence():
    rows = read_conll("a X\nb\n\nc Y\n", "c", Columns())
    assert [(row.place, row.fault) for row in rows] == [
        ("c, line 2", "1 columns where at least 2 are needed"),
        ("c, line 4", None),
    ]


def test_words_alone_can_be_read():
    rows = read_conll("a\nb\n\nc\n", "c", Columns(labelled=False))
    assert [row[:2] for row in rows] == [(["a", "b"], None), (["c"], None)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [(CONLL, True), ("a\tX\nb\tY\n\nc\tX\n", True), ("The cat sat.\nIt is a cat\n", False), ("one\n\ntwo\n", False)],
)
def test_sentences_in_lines_are_told_from_columns(text, answer):
    assert looks_like_conll(text) is answer
