"""Labelled texts: how tables are read, what stands where in the tokens, what is predicted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurra.config import as_mapping
from recurra.data import (
    KINDS,
    NOTHING,
    Corpus,
    DataConfig,
    Examples,
    SequentialStream,
    Tokenizer,
    Tokens,
    load_tokenizer,
    nearest_label,
)
from recurra.data.labelled import training_order
from recurra.data.tokenizers import build_tokenizer, with_labels
from recurra.errors import ConfigError, DataError, RecurraError, VocabularyError

ROWS = [("bon jour", "French"), ("guten tag", "German"), ("ça va ?", "French"), ("wie geht's", "German")]


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path, condition: str, **settings: Any) -> Corpus:
    return Corpus.from_file(path, condition=condition, valid=0.0, **settings)


def texts_of(tokens: Tokens, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Take tokens apart: label, text, end."""
    names = {i: label for label, i in tokenizer.labels.items()}
    stops = [*tokens.documents[1:].tolist(), len(tokens)]
    found = []
    for start, stop in zip(tokens.documents.tolist(), stops, strict=True):
        ids = tokens.ids[start:stop].tolist()
        assert ids[-1] == tokenizer.end
        assert not set(ids[1:]) & set(names)
        found.append((tokenizer.decode(ids[1:-1]), names[ids[0]]))
    return found


TABLES: dict[str, tuple[list[str], str, dict[str, Any]]] = {
    "names.tsv": (["id\tlanguage\twords", *(f"7\t{label}\t{text}" for text, label in ROWS)], "language", {}),
    "input.tsv": (["a\tb\tc", *(f"{text}\t{label}\t3" for text, label in ROWS)], "b", {"input": "a"}),
    "first.tsv": ([f"{label}\t{text}" for text, label in ROWS], "1", {}),
    "second.tsv": ([f"{text}\t{label}" for text, label in ROWS], "2", {}),
    "third.tsv": ([f"{label}\tx\t{text}" for text, label in ROWS], "1", {"input": "3"}),
    "number.tsv": (["text\tlabel", *(f"{text}\t{label}" for text, label in ROWS)], "2", {}),
    "quoted.csv": (["label,text", *(f'{label},"{text}"' for text, label in ROWS)], "label", {}),
    "lines.jsonl": ([f'{{"text": "{text}", "label": "{label}"}}' for text, label in ROWS], "label", {}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_any_kind_gives_its_texts_and_labels(tmp_path: Path, name: str) -> None:
    lines, condition, settings = TABLES[name]
    corpus = read(write(tmp_path / name, *lines), condition, **settings)
    assert sorted(texts_of(corpus.train, corpus.tokenizer)) == sorted(ROWS)
    assert (list(corpus.tokenizer.labels), len(corpus.valid), corpus.train.labelled) == (["French", "German"], 0, True)
    assert corpus.train.num_chars == sum(len(text) for text, _ in ROWS)


def test_texts_keep_their_spaces_and_line_ends_and_labels_may_be_numbers(tmp_path: Path) -> None:
    lines = ['{"text": " a\\nb ", "stars": 1}', '{"text": "c\\r\\n", "stars": 2}', '{"text": "a", "stars": true}']
    corpus = read(write(tmp_path / "t.jsonl", *lines), "stars")
    assert sorted(texts_of(corpus.train, corpus.tokenizer)) == [(" a\nb ", "1"), ("a", "true"), ("c\r\n", "2")]
    path = tmp_path / "t.csv"
    path.write_bytes(b'text,label\n"two\nlines",A\n"one",B\n')
    assert ("two\nlines", "A") in texts_of(read(path, "label").train, read(path, "label").tokenizer)


labelled = st.lists(st.tuples(st.text("ab <>:é", min_size=1, max_size=8), st.sampled_from("XYZ")), min_size=4)


@given(labelled, st.sampled_from(["char", "byte", "bpe"]), st.sampled_from([0.0, 0.3]))
def test_every_text_is_a_document_behind_its_label(rows: list[tuple[str, str]], kind: str, valid: float) -> None:
    rows = [(f"{text}.", label) for text, label in rows]
    examples = Examples([text for text, _ in rows], [label for _, label in rows])
    try:
        corpus = Corpus.from_examples(examples, tokenizer=kind, valid=valid)
    except VocabularyError:
        assert valid  # most characters of so small a validation part may be new
        return
    except DataError:
        # With equal texts of other labels, a part of so few may be left with one label.
        single = len({label for _, label in rows}) < 2
        assert single or (valid and len(set(examples.inputs)) < len(rows))
        return
    if corpus.tokenizer.unknown is not None or corpus.notes:
        return  # a character or a label that is in the validation part alone
    parts = [texts_of(part, corpus.tokenizer) for part in (corpus.train, corpus.valid) if len(part)]
    assert Counter(row for part in parts for row in part) == Counter(rows)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_text_is_ever_read_as_a_label(tmp_path: Path, kind: str) -> None:
    texts = ["<label: A> <label:A> <label: B>", "label: A>", "<label:", "A"] * 9
    corpus = Corpus.from_examples(Examples(texts, ["A", "B", "B", "A"] * 9), tokenizer=kind, valid=0.0)
    found = texts_of(corpus.train, corpus.tokenizer)  # checks it
    assert Counter(text.split()[0] for text, _ in found) == Counter(text.split()[0] for text in texts)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_labels_are_tokens_without_a_text(tmp_path: Path, kind: str) -> None:
    plain = build_tokenizer(kind, "a b a b\n", end=True)
    tokenizer = with_labels(plain, ["French", 'a "b" ü'])
    ids = tokenizer.labels
    assert (list(ids), len(tokenizer)) == (["French", 'a "b" ü'], len(plain) + 2)
    assert list(ids.values()) == [len(plain), len(plain) + 1]
    assert tokenizer.decode([ids["French"], *tokenizer.encode("a"), ids['a "b" ü']]) == plain.decode(plain.encode("a"))
    assert tokenizer.symbol(ids["French"]) == "<label: French>"
    assert (tokenizer.start, tokenizer.end) == (plain.start, plain.end)
    assert tokenizer.encode("a b\n").tolist() == plain.encode("a b\n").tolist()
    tokenizer.save(tmp_path / "t.json")
    loaded = load_tokenizer(tmp_path / "t.json")
    assert (loaded.labels, loaded.kind, loaded.digest) == (ids, kind, tokenizer.digest)
    assert plain.labels == {}


@st.composite
def documents(draw: st.DrawFn) -> Tokens:
    """Every token is its own position; the documents are labelled."""
    lengths = draw(st.lists(st.integers(2, 9), min_size=1, max_size=12))
    starts = np.cumsum([0, *lengths])
    return Tokens(np.arange(starts[-1], dtype=np.uint16), starts[:-1], labelled=True)


@given(documents(), st.data())
def test_all_but_the_labels_is_predicted_once_from_its_own_label_on(tokens: Tokens, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, len(tokens) // 2))
    span, offset = data.draw(st.integers(1, 20)), data.draw(st.integers(0, len(tokens) - 1))
    labels, predicted, resets = set(tokens.documents.tolist()), list[int](), list[int]()
    for batch in SequentialStream(tokens, rows=rows, span=span, offset=offset):
        counted = batch.targets != NOTHING
        predicted += batch.targets[counted].tolist()
        assert torch.equal(batch.targets[counted], batch.inputs[counted] + 1)
        if batch.reset is not None:
            resets += batch.inputs[batch.reset].tolist()
    assert sorted(predicted) == sorted(set(range(len(tokens))) - labels)
    assert labels <= set(resets)
    assert len(set(resets) - labels) <= rows  # a row may begin within a document


def test_the_store_remembers_labels(tmp_path: Path) -> None:
    examples = Examples([text for text, _ in ROWS], [label for _, label in ROWS])
    corpus = Corpus.from_examples(examples, valid=0.0)
    corpus.save(tmp_path / "tokens")
    loaded = Corpus.load(tmp_path / "tokens")
    assert loaded.train.labelled
    assert loaded.config == corpus.config
    assert texts_of(loaded.train, loaded.tokenizer) == texts_of(corpus.train, corpus.tokenizer)
    assert not Corpus.from_text("ab" * 20).train.labelled


def test_each_label_has_its_share_of_the_validation_part() -> None:
    texts = [f"text {n}" for n in range(200)]
    examples = Examples(texts, ["rare" if n < 20 else "common" for n in range(200)])  # sorted by label
    corpus = Corpus.from_examples(examples, valid=0.1)
    found = Counter(label for _, label in texts_of(corpus.valid, corpus.tokenizer))
    assert (found["rare"], found["common"]) in {(2, 18), (1, 18), (2, 17), (1, 19)}
    order = [label for _, label in texts_of(corpus.train, corpus.tokenizer)]
    assert 0 < order.index("rare") < 60  # no longer sorted
    again = Corpus.from_examples(examples, valid=0.1)
    assert again.train.ids.tobytes() == corpus.train.ids.tobytes()


@given(st.lists(st.sampled_from("AAAAABBC"), min_size=1), st.floats(0, 1))
def test_rare_labels_are_repeated(labels: list[str], balance: float) -> None:
    order = training_order(labels, balance)
    counts, read = Counter(labels), Counter(labels[n] for n in order)
    most = max(counts.values())
    assert read == {label: round(n * (most / n) ** balance) for label, n in counts.items()}
    times = Counter(order)
    assert set(times) == set(range(len(labels)))
    for label in counts:
        each = [times[n] for n in range(len(labels)) if labels[n] == label]
        assert max(each) - min(each) <= 1
    if balance == 0:
        assert sorted(order) == list(range(len(labels)))


def test_only_what_is_trained_on_is_repeated() -> None:
    examples = Examples([f"text {n % 7} {n}" for n in range(60)], ["rare" if n < 20 else "common" for n in range(60)])
    plain = Corpus.from_examples(examples, valid=0.1)
    corpus = Corpus.from_examples(examples, valid=0.1, balance=1.0)
    assert corpus.tokenizer.digest == plain.tokenizer.digest
    assert corpus.valid.ids.tobytes() == plain.valid.ids.tobytes()
    counts = Counter(label for _, label in texts_of(corpus.train, corpus.tokenizer))
    assert counts["rare"] == counts["common"]
    again = Corpus.from_examples(examples, valid=0.1, balance=1.0)
    assert again.train.ids.tobytes() == corpus.train.ids.tobytes()


def test_the_same_text_may_have_two_labels() -> None:
    examples = Examples(["Lee", "Lee", "Kim", "Lane"], ["Korean", "English", "Korean", "English"])
    corpus = Corpus.from_examples(examples, valid=0.0)
    assert Counter(texts_of(corpus.train, corpus.tokenizer))["Lee", "Korean"] == 1


def test_a_validation_table_with_other_labels(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", "text\tlabel", *(f"{text}\t{label}" for text, label in ROWS))
    valid = write(tmp_path / "valid.tsv", "text\tlabel", "ja\tGerman", "oui\tfrench", "si\tItalian", "no\tItalian")
    settings = {"source": str(train), "condition": "label", "valid": str(valid)}
    with pytest.raises(DataError) as error:
        Corpus.build(DataConfig(**settings))
    assert str(error.value) == (
        "valid.tsv, line 4: the label 'Italian' was never seen in training, nor was one other; "
        "known: French, German; --skip-bad leaves such rows out"
    )
    corpus = Corpus.build(DataConfig(**settings, skip_bad=True))
    assert [label for _, label in texts_of(corpus.valid, corpus.tokenizer)] == ["German"]
    assert "left out 3 of 4 texts: the label 'Italian' was never seen in training, nor was one other" in corpus.notes[0]
    again = Corpus.build(
        DataConfig(source=str(valid), condition="label", valid=0.0, skip_bad=True), tokenizer=corpus.tokenizer
    )
    assert [label for _, label in texts_of(again.train, corpus.tokenizer)] == ["German"]


@pytest.mark.parametrize(
    ("lines", "settings", "said"),
    [
        (["text\tlabel", "a\tA", "\tB", "b\tB"], {}, "t.tsv, line 3: no text; mend it, or --skip-bad leaves it out"),
        (["text\tlabel", "a\tA", "b\t ", "b\tB"], {}, "t.tsv, line 3: no label; mend it, or --skip-bad leaves it out"),
        (["text\tlabel", "a\tA", "b\tA"], {}, "all texts of t have the label 'A'; give two labels or more"),
        (["text\tlang", "a\tA", "b\tA"], {}, "t.tsv has no column 'label'; known: lang, text (its columns: text, lang"),
        (["text\tlabel", "a\tA", "b\tB"], {"input": "txt"}, "t.tsv has no column 'txt'; did you mean 'text'?"),
        ([f"{n}\tA" for n in range(20)], {"condition": "1"}, "t has 20 labels for 20 texts"),
        (["a", "b"], {"condition": "1"}, "t.tsv has no column beside 1; give lines of at least two"),
        (["a\tb", "c\td"], {"condition": "1", "input": "1"}, "column 1 cannot be both input and target"),
        (["text\tlabel"], {}, "t.tsv has no rows that can be used"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, lines: list[str], settings: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "t.tsv", *lines)
    with pytest.raises(RecurraError) as error:
        Corpus.build(DataConfig(source=str(path), valid=0.0, **{"condition": "label", **settings}))
    assert said in str(error.value)


def test_rows_that_cannot_be_used_are_left_out_when_asked(tmp_path: Path) -> None:
    lines = ["text\tlabel", "a\tA", "\tB", "b\tB", "c\t"]
    corpus = read(write(tmp_path / "t.tsv", *lines), "label", skip_bad=True)
    assert sorted(texts_of(corpus.train, corpus.tokenizer)) == [("a", "A"), ("b", "B")]
    assert corpus.notes == [
        "left out 1 row: no text (the first: t.tsv, line 3)",
        "left out 1 row: no label (the first: t.tsv, line 5)",
    ]


def test_a_line_that_seems_to_name_the_columns_is_told(tmp_path: Path) -> None:
    rows = [f"name{n}\t{'AB'[n % 2]}" for n in range(12)]
    (note,) = read(write(tmp_path / "t.tsv", "surname\tlanguage", *rows), "2").notes
    assert note.startswith("t.tsv, line 1: 'surname' is read as a text, and the only one with the label 'language'")
    assert read(write(tmp_path / "u.tsv", *rows), "2").notes == []


@pytest.mark.parametrize("label", ["two\nlines", "a\tb", "half \ud800"])
def test_labels_that_no_line_can_show(label: str) -> None:
    with pytest.raises(DataError, match="example 2: a label with a line end, a tab or another character"):
        Corpus.from_examples(Examples(["a", "b"], ["A", label]))


def test_texts_that_are_none() -> None:
    with pytest.raises(DataError, match="example 1: the text is no text"):
        Corpus.from_examples(Examples([["a"], "b"], ["A", "B"]))
    with pytest.raises(DataError, match="example 2: no label"):
        Corpus.from_examples(Examples(["a", "b"], ["A", None]))
    with pytest.raises(DataError, match="example 1: no label"):
        Corpus.from_examples(Examples(["a", "b"]))
    with pytest.raises(DataError, match="half a surrogate pair"):
        Corpus.from_examples(Examples(["a\ud800", "b"], ["A", "B"]))


def test_settings_that_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'input' is for a table of labelled texts"):
        DataConfig(source="t.tsv", input="text")
    with pytest.raises(ConfigError, match="'skip_bad' is for a table of labelled texts"):
        DataConfig(source="t.tsv", skip_bad=True)
    with pytest.raises(ConfigError, match="'balance' is for a table of labelled texts"):
        DataConfig(source="t.tsv", balance=0.5)
    with pytest.raises(ConfigError, match="'balance' is at least 0 and at most 1, not -1"):
        DataConfig(source="t.tsv", condition="label", balance=-1.0)
    with pytest.raises(ConfigError, match="a table of labelled texts, not counting; give a file"):
        Corpus.build(DataConfig(condition="label"))
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path, "label")


CHANGES = {
    "source": "other.tsv",
    "tokenizer": "byte",
    "vocab": 5,
    "valid": 0.5,
    "condition": "kind",
    "input": "title",
    "balance": 1.0,
    "skip_bad": True,
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_setting_of_a_table_changes_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"t{n}\tsome text {n}\t{'AAB'[n % 3]}\t{'XYZ'[n // 4]}" for n in range(12)]
    write(tmp_path / "t.tsv", "title\ttext\tlabel\tkind", *lines)
    write(tmp_path / "other.tsv", "title\ttext\tlabel\tkind", *lines[:-1])
    if field == "skip_bad":
        write(tmp_path / "t.tsv", "title\ttext\tlabel\tkind", *lines, "t\t\tA\tX")
    base = {"source": "t.tsv", "tokenizer": "char", "valid": 0.25, "condition": "label"}

    def outcome(**settings: Any) -> Any:
        try:
            corpus = Corpus.build(DataConfig(**{**base, **settings}))
        except RecurraError as error:
            return str(error)
        return corpus.train.ids.tobytes(), corpus.valid.ids.tobytes(), corpus.tokenizer.digest

    assert outcome() != outcome(**{field: CHANGES[field]})


def test_every_setting_is_accounted_for() -> None:
    assert set(CHANGES) == set(DataConfig.__dataclass_fields__)
    assert as_mapping(DataConfig(source="t.tsv", condition="2"))["condition"] == "2"


def test_what_is_said_of_many_labels() -> None:
    many = {f"label{n:02}" for n in range(25)}
    assert nearest_label("label0", many) == "; did you mean 'label00'? (25 labels)"
    assert nearest_label("x", many).endswith("label19 and 5 others")
