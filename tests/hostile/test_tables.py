"""Tables of examples, words in columns, labelled texts and series: what people bring.

What could go wrong: quotes that never close, cells of a gigabyte, rows of many lengths, JSON of any type in a cell,
invalid UTF-8, NUL; numbers such as 1e400 as years or as labels; times a million years apart, which even steps between
would fill the memory.
"""

import tempfile
import warnings
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import cases, mutated, survives

from recurra.data import Corpus
from recurra.data.examples import Dataset, DatasetConfig
from recurra.data.series import SeriesConfig, SeriesData

ROWS = [("a good day", "nice"), ('a "bad", day', "not"), ("warm, wet", "nice"), ("cold", "not")] * 3
TSV = "text\tlabel\n" + "".join(f"{a}\t{b}\n" for a, b in ROWS)
CSV = "text,label\n" + "".join('"' + a.replace('"', '""') + f'",{b}\n' for a, b in ROWS)
JSONL = '{"text": "a good day", "label": "nice"}\n{"text": "bad", "label": "not"}\n' * 5
CONLL = "the DET\ncat NOUN\nsat VERB\n\na DET\ndog NOUN\n\n" * 4
SERIES = "date,sales,price\n" + "".join(f"2024-01-{d:02d},{d * 3 % 7},{d % 5}\n" for d in range(1, 29))
NUMBERED = "t,y\n" + "".join(f"{n},{n * n % 11}\n" for n in range(30))

EXAMPLES = [
    ("classify", "table.tsv", TSV), ("classify", "table.csv", CSV), ("classify", "table.jsonl", JSONL),
    ("tag", "words.conll", CONLL), ("tag", "words.txt", CONLL), ("translate", "table.tsv", TSV),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _warnings_of_pandas():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dates in more than one form, of numbers too large; they are no errors
        pd.to_datetime(pd.Series(["2024-01-01"]))  # imports what it needs
        yield


def with_file(name: str, data: bytes, read):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        survives(lambda: read(str(path)))


@pytest.mark.parametrize(("task", "name", "text"), EXAMPLES, ids=lambda value: value if len(value) < 20 else "")
def test_a_table_is_read_or_refused(task, name, text):
    @cases(8)
    @given(mutated(text.encode()), st.booleans())
    def check(data, skip_bad):
        with_file(name, data, lambda path: Dataset.build(DatasetConfig(task=task, source=path, skip_bad=skip_bad)))

    check()


@cases(8)
@given(st.sampled_from(["t.tsv", "t.csv", "t.jsonl"]), mutated(TSV.encode()) | mutated(JSONL.encode()))
def test_labelled_texts_are_read_or_refused(name, data):
    with_file(name, data, lambda path: Corpus.from_file(path, condition="label", input="text", skip_bad=True))


@cases(8)
@given(
    st.sampled_from([SERIES, NUMBERED]).flatmap(lambda text: mutated(text.encode())), st.sampled_from(["error", "fill"])
)
def test_a_series_is_read_or_refused(data, gaps):
    with_file("series.csv", data, lambda path: SeriesData.build(SeriesConfig(source=path, gaps=gaps, context=3)))


@cases(8)
@given(mutated(b"a text that says little, again and again\n" * 4), st.sampled_from(["char", "byte", "word", "bpe"]))
def test_a_text_is_read_or_refused(data, tokenizer):
    with_file("text.txt", data, lambda path: Corpus.from_file(path, tokenizer=tokenizer))
