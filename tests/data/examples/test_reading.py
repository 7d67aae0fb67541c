"""Reading: each kind of bad row is named by its line, and left out if that is wished."""

import io
import json
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recurra.data.examples import DatasetConfig, SoundInput, TextInput, read_examples
from recurra.data.tokenizers import build_tokenizer
from recurra.errors import ConfigError, DataError

GOOD = "fine film\tgood\ndull film\tbad\n"


@pytest.fixture
def table(tmp_path):
    def write(content, name="t.tsv"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else "\n".join(map(json.dumps, content)), encoding="utf-8")
        return str(path)

    return write


def read(source, task="classify", *, labelled=True, input=None, **settings):
    return read_examples(DatasetConfig(task=task, source=source, **settings), labelled=labelled, input=input)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("x\n", "t.tsv, line 3: no label; mend it, or --skip-bad leaves it out"),
        ("x\t\ny\n", "t.tsv, line 3: no label (2 such rows); mend them, or --skip-bad leaves them out"),
        ("\tgood\n", "t.tsv, line 3: no input; mend it"),
        ("  \tgood\n", "t.tsv, line 3: no input; mend it"),
        ("x\tgood\t!\n", "t.tsv, line 3: more than 2 columns; mend it"),
        ("x\t \n", "t.tsv, line 3: no label; mend it"),
    ],
)
def test_rows_that_lack_something(table, bad, message):
    source = table(GOOD + bad)
    with pytest.raises(DataError) as error:
        read(source)
    assert str(error.value).startswith(message)
    examples = read(source, skip_bad=True)
    assert list(examples.inputs) == ["fine film", "dull film"]
    assert examples.notes[0].startswith("left out ")
    assert examples.notes[0].endswith("(the first: t.tsv, line 3)")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "x"}, "no label"),
        ({"text": "x", "label": ["a"]}, "no label: it is no text"),
        ({"text": None, "label": "a"}, "no input"),
        ({"text": [], "label": "a"}, "no input"),
        ({"text": {"a": 1}, "label": "a"}, "the input is neither a text nor a list"),
        ({"text": 5, "label": "a"}, "the input is neither a text nor a list"),
        ({"text": ["a", 1], "label": "a"}, "the input is a list of neither words nor numbers"),
        ({"text": [[1], [1, 2]], "label": "a"}, "the input is a list of neither words nor numbers"),
        ({"text": [1.0, float("nan")], "label": "a"}, "the input is no sequence of finite numbers"),
        ({"text": [[]], "label": "a"}, "the input is no sequence of finite numbers"),
        ({"text": ["New York", "x"], "label": "a"}, "a word that is empty or holds white space"),
        ([1], "no JSON object"),
    ],
)
def test_records_that_are_not_what_they_should_be(table, record, message):
    source = table([{"text": "a", "label": "b"}, record], "t.jsonl")
    with pytest.raises(DataError) as error:
        read(source)
    assert str(error.value) == f"t.jsonl, line 2: {message}; mend it, or --skip-bad leaves it out"
    assert len(read(source, skip_bad=True)) == 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"tokens": ["a", "b"], "labels": ["X"]}, "the numbers of labels and of words differ"),
        ({"tokens": "ab", "labels": "X"}, "the numbers of labels and of words differ"),
        ({"tokens": ["a"]}, "no labels"),
        ({"tokens": ["a"], "labels": []}, "no labels"),
        ({"tokens": ["a"], "labels": 3}, "labels are neither a list nor a string of characters"),
        ({"tokens": ["a"], "labels": "X"}, "labels are a list, one for each word"),
        ({"tokens": ["a"], "labels": [""]}, "an empty label"),
    ],
)
def test_labels_of_steps_that_do_not_fit(table, record, message):
    source = table([{"tokens": ["a"], "labels": ["X"]}, record], "t.jsonl")
    with pytest.raises(DataError) as error:
        read(source, "tag")
    assert str(error.value) == f"t.jsonl, line 2: {message}; mend it, or --skip-bad leaves it out"


def test_labels_of_characters(table):
    source = table([{"tokens": "ab c", "labels": "U--U"}, {"tokens": "d", "labels": [1]}], "t.jsonl")
    examples = read(source, "tag")
    assert list(examples.inputs) == ["ab c", "d"]
    assert list(examples.targets) == [["U", "-", "-", "U"], ["1"]]


def test_what_is_tagged_is_never_the_name_of_a_file(table):
    assert list(read(table([{"tokens": "a.png", "labels": "ABCDE"}], "p.jsonl"), "tag").inputs) == ["a.png"]


def test_labels_may_be_numbers_and_truths(table):
    rows = [{"text": "a", "label": label} for label in (1, True, 0.5, "x ")]
    assert list(read(table(rows, "t.jsonl")).targets) == ["1", "true", "0.5", "x"]


def test_texts_keep_their_white_space(table):
    examples = read(table(" a  b\u202f!\t c \n"), "translate")
    assert (examples.inputs[0], examples.targets[0]) == (" a  b\u202f!", " c ")


def test_sequences_of_numbers(table):
    rows = [{"values": [1, 2.5, 3], "label": "up"}, {"values": [3, 2], "label": "down"}]
    first, second = read(table(rows, "t.jsonl")).inputs
    assert (first.dtype, first.tolist(), second.tolist()) == (np.float32, [1, 2.5, 3], [3, 2])


@pytest.mark.parametrize("task", ["classify", "translate"])
def test_lines_of_text_to_be_answered(table, monkeypatch, task):
    examples = read(table("one\n\ntwo words\n", "t.txt"), task, labelled=False)
    assert (list(examples.inputs), examples.targets) == (["one", "two words"], None)
    assert list(examples.places) == ["t.txt, line 1", "t.txt, line 3"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    examples = read("-", task, labelled=False)
    assert (list(examples.inputs), examples.places[1]) == (["one", "two"], "standard input, line 2")


def test_standard_input_may_be_lines_of_json(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "a", "label": "b"}\n')))
    assert list(read("-").targets) == ["b"]


def test_targets_are_read_where_they_are_known(table):
    assert list(read(table(GOOD), labelled=False).targets) == ["good", "bad"]
    assert read(table(GOOD + "x\n"), labelled=False).targets is None


def test_sentences_to_be_tagged(table):
    source = table("The cat sat\nIt sleeps\n", "t.txt")
    assert list(read(source, "tag", labelled=False).inputs) == [["The", "cat", "sat"], ["It", "sleeps"]]
    characters = TextInput(build_tokenizer("char", "abc", unknown=True))
    assert read(source, "tag", labelled=False, input=characters).inputs[1] == "It sleeps"
    columns = table("a X\nb Y\n\nc X\n", "c.txt")
    assert list(read(columns, "tag", labelled=False).targets) == [["X", "Y"], ["X"]]


def test_sounds_and_pictures_of_a_table_lie_beside_it(tmp_path, table):
    for n, rate in enumerate((8000, 8000, 16_000)):
        soundfile.write(tmp_path / f"{n}.wav", np.full(rate // 10, 0.1, np.float32), rate)
    source = table("0.wav\ta\n1.wav\tb\n2.wav\ta\n")
    examples = read(source)
    assert [len(sound) for sound in examples.inputs] == [800, 800, 800]
    assert list(examples.notes) == ["resampled from 16,000 to 8,000 Hz: 1 file"]
    assert [len(sound) for sound in read(source, input=SoundInput(4000, 20)).inputs] == [400] * 3
    assert [len(sound) for sound in read(source, rate=16_000).inputs] == [1600] * 3


def test_progress_counts_files(tmp_path, table):
    for n in range(2):
        Image.fromarray(np.full((4, 4), n, np.uint8)).save(tmp_path / f"{n}.png")
    seen = []
    config = DatasetConfig(task="caption", source=table("0.png\ta\n1.png\tb\n"))
    read_examples(config, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_files_that_cannot_be_read_are_faults(tmp_path, table):
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"?")
    source = table("a.png\tx\nb.png\ty\nc.png\tz\n")
    with pytest.raises(DataError) as error:
        read(source, "caption")
    assert str(error.value) == (
        "t.tsv, line 2: cannot read the picture b.png: it is no picture that can be read (2 such rows); "
        "mend them, or --skip-bad leaves them out"
    )
    examples = read(source, "caption", skip_bad=True)
    assert list(examples.targets) == ["x"]
    assert examples.inputs[0].shape == (4, 5)
    with pytest.raises(DataError, match=r"line 1: cannot read .* paths in a table are relative to its folder"):
        read(table("x.png\tx\ny.png\ty\n", "u.tsv"), "caption")


def test_kinds_that_do_not_belong_together_are_refused(tmp_path, table):
    with pytest.raises(DataError, match=r"t.tsv, line 2: a picture among inputs that begin with a text"):
        read(table("word\tx\na.png\ty\n"))
    with pytest.raises(DataError, match=r"captions are written for pictures, and this is a text"):
        read(table("word\tx\n"), "caption")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError, match=r"is a folder; to tag, give a file with a word and its label in each line"):
        read(str(tmp_path / "sub"), "tag")
    with pytest.raises(DataError, match=r"the model reads sound, and this is a picture"):
        read(table("a.png\tx\n"), input=SoundInput())


def test_a_single_sound_or_picture_can_be_read(tmp_path):
    Image.fromarray(np.full((4, 5), 9, np.uint8)).save(tmp_path / "a.png")
    examples = read(str(tmp_path / "a.png"), labelled=False)
    assert (examples.inputs[0].shape, list(examples.places)) == ((4, 5), ["a.png"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "clasify"}, "unknown task 'clasify'; did you mean 'classify'"),
        ({"task": "tag", "tokenizer": "bpe"}, "to tag, 'tokenizer' is word or char"),
        ({"task": "classify", "valid": 1.0}, "'valid' is a fraction"),
        ({"task": "classify", "size": 0}, "'size' must be at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        DatasetConfig(source="x", **settings)
    assert message in str(error.value)


PIECES = st.sampled_from(
    [*'{}[]",:\t\n\r # ab1', '{"text": "a", "label": "b"}\n', "text\tlabel\n", "a\tb\n", "\xff", "\0"]
)


@given(
    st.lists(PIECES, max_size=20).map("".join),
    st.sampled_from(["tsv", "csv", "jsonl", "conll", "conllu", "txt"]),
    st.sampled_from(["classify", "tag", "translate"]),
    st.booleans(),
    st.booleans(),
)
def test_whatever_a_file_holds_is_read_or_refused_in_one_line(tmp_path_factory, text, ending, task, labelled, skip_bad):
    path = tmp_path_factory.mktemp("t") / f"t.{ending}"
    path.write_bytes(text.encode("latin-1"))
    try:
        examples = read(str(path), task, labelled=labelled, skip_bad=skip_bad)
    except DataError as error:
        message, examples = str(error), None
    if examples is None:
        assert "\n" not in message
    else:
        assert all(len(raw) for raw in examples.inputs)
        assert not labelled or len(examples.targets) == len(examples.inputs)
