"""Tables: columns, headers, quotes, and rows of the wrong width."""

import json

import pytest

from recurra.data.examples.tables import Columns, read_json_lines, read_table
from recurra.errors import DataError


def pairs(text, separator="\t", **columns):
    return [row[:2] for row in read_table(text, "t.tsv", separator, Columns(**columns))]


def test_without_names_the_first_column_is_read_and_the_second_said():
    assert pairs("good film\t1\nbad film\t0") == [("good film", "1"), ("bad film", "0")]


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("label\ttext", "1\tgood", ("good", "1")),
        ("Sentence\tSentiment", "good\t1", ("good", "1")),
        ("id\ttext\tscore\tlabel", "7\tgood\t0.5\t1", ("good", "1")),
        ("english\tfrench", "good\tbon", ("good", "bon")),
        (" file \tcaption", "a.png\ta cat", ("a.png", "a cat")),
    ],
)
def test_a_first_line_of_known_names_tells_the_columns(header, row, expected):
    names = {"input": "english", "target": "french"} if "french" in header else {}
    assert pairs(f"{header}\n{row}\n", **names) == [expected]


def test_columns_are_found_by_the_names_that_are_asked_for():
    assert pairs("a\tb\tc\n1\t2\t3\n", input="c", target="a") == [("3", "1")]


def test_a_line_is_a_header_only_if_its_names_are_known():
    assert len(pairs("text mining\tcomputing\nlabel printing\toffice")) == 2


def test_no_cell_is_changed():
    cells = ['"', "NA", "null", "1.0", "007", " x ", "nan", "True", "a  b\u202f!", "\u2028", "#", "it''s"]
    text = "".join(f"{cell}\t{cell}\n" for cell in cells)
    assert pairs(text) == [(cell, cell) for cell in cells]


def test_cells_between_commas_may_be_quoted():
    rows = read_table('text,label\n"a, ""b""\nc",1\n"d",2\n', "t.csv", ",", Columns())
    assert [row[:3] for row in rows] == [('a, "b"\nc', "1", "t.csv, line 2"), ("d", "2", "t.csv, line 4")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", ["\t", ","])
def test_lines_are_counted_as_an_editor_counts_them(end, separator):
    lines = ["a|1", "", "b|2", "c|3", ""]
    text = end.join(lines).replace("|", separator)
    rows = read_table(text, "t", separator, Columns())
    assert [row.place for row in rows] == ["t, line 1", "t, line 3", "t, line 4"]


@pytest.mark.parametrize("separator", ["\t", ","])
@pytest.mark.parametrize("extra", ["|x", "|x|y|z"])
def test_a_row_with_too_many_cells_has_a_fault(separator, extra):
    rows = read_table(f"a|1\nb|2{extra}\nc|3\n".replace("|", separator), "t", separator, Columns())
    assert [row.fault for row in rows] == [None, "more than 2 columns", None]
    assert [row.input for row in rows] == ["a", "b", "c"]


@pytest.mark.parametrize("separator", ["\t", ","])
def test_a_row_with_too_few_cells_lacks_its_target(separator):
    rows = read_table("a|1\nb\n".replace("|", separator), "t", separator, Columns())
    assert [row.target for row in rows] == ["1", None]


def test_one_column_is_enough_where_nothing_is_known():
    rows = read_table("a\nb\n", "t", "\t", Columns(labelled=False))
    assert [row[:2] for row in rows] == [("a", None), ("b", None)]
    rows = read_table("id\ttext\n1\ta\n", "t", "\t", Columns(target="label", labelled=False))
    assert [row[:2] for row in rows] == [("a", None)]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a\nb\n", {}, "t, line 1: no tab in it; write input, tab and target in each line"),
        ("a\tb\n1\t2\n", {"input": "c"}, "t has no column 'c'"),
        ("text\tlabel\n1\t2\n", {"target": "lable"}, "did you mean 'label'"),
        (
            "text\tlabel\n1\t2\n",
            {"target": "lable"},
            "(its columns: text, label; if these are no names, give a number from 1)",
        ),
        ("text\ttext\tlabel\n1\t2\t3\n", {}, "t has two columns 'text'; give each a name of its own"),
        ("text\tid\tmood\tdate\n1\t2\t3\t4\n", {}, "t: which column is the target? say --target with one of text, id"),
        ("label\tid\tmood\n1\t2\t3\n", {}, "t: which column is the input? say --input with one of label, id, mood"),
    ],
)
def test_columns_that_cannot_be_told_are_refused(text, columns, message):
    with pytest.raises(DataError) as error:
        read_table(text, "t", "\t", Columns(**columns))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("row", ['"b,2', 'b,"2', '"b"b,2'])
def test_a_quote_that_is_never_closed_is_refused(row):
    with pytest.raises(DataError, match=r"^t, line 3: a quoted cell is not closed") as error:
        read_table(f"text,label\na,1\n{row}\nc,3\n", "t", ",", Columns())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("separator", ["\t", ","])
def test_a_cell_may_be_a_whole_book(separator):
    book = "word " * 100_000
    assert read_table(f"{book}{separator}1\n", "t", separator, Columns())[0].input == book


def test_lines_of_json():
    lines = [{"text": "a", "label": 1}, {"label": "b\u2028", "text": ["x", "y"]}, {"text": "c"}]
    text = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    rows = read_json_lines(text, "t", Columns())
    assert [row[:3] for row in rows] == [
        ("a", 1, "t, line 1"),
        (["x", "y"], "b\u2028", "t, line 3"),
        ("c", None, "t, line 5"),
    ]


@pytest.mark.parametrize("line", ["[1]", "{", '"a"', "[" * 100_000])
def test_a_line_that_is_no_object_has_a_fault(line):
    rows = read_json_lines('{"text": "a", "label": "b"}\n' + line, "t", Columns())
    assert [row.fault for row in rows] == [None, "no JSON object"]


def test_keys_are_those_of_all_lines():
    rows = read_json_lines('{"text": "a"}\n{"text": "b", "label": "x"}', "t", Columns())
    assert [row.target for row in rows] == [None, "x"]
    with pytest.raises(DataError, match=r"t, line 2: no JSON object; write one in each line"):
        read_json_lines("\n1\n2\n", "t", Columns())


def test_names_that_are_asked_for_are_not_needed_to_read_inputs_alone():
    rows = read_table("good film\nbad film\n", "t", "\t", Columns("review", "mood", labelled=False))
    assert [row.input for row in rows] == ["good film", "bad film"]
    rows = read_table("review\tid\ngood film\t1\n", "t", "\t", Columns("review", "mood", labelled=False))
    assert [row[:2] for row in rows] == [("good film", None)]


def test_a_key_that_comes_twice_is_refused():
    with pytest.raises(DataError, match=r"t, line 1: two values of 'text'; give each a name of its own"):
        read_json_lines('{"text": "a", "text": "b"}', "t", Columns())
