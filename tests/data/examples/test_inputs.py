"""Texts and numbers as models read them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.data.examples import NumbersInput, TextInput
from recurra.data.examples.inputs import lower
from recurra.data.tokenizers import build_tokenizer
from recurra.errors import DataError


@given(st.text())
def test_lower_case_has_as_many_characters(text):
    assert len(lower(text)) == len(text)
    assert lower(text) in (text.lower(), "".join(c.lower() if len(c.lower()) == 1 else c for c in text))


def test_a_list_is_read_as_the_text_it_makes():
    words = TextInput(build_tokenizer("word", "a b a b", unknown=True), lowercase=True)
    assert words.encode(["A", "b", "x"]).tolist() == words.encode("a B x").tolist() == [0, 1, 2]
    characters = TextInput(build_tokenizer("char", "aab"))
    assert characters.encode(["a", "b"]).tolist() == characters.encode("ab").tolist() == [0, 1]


@pytest.mark.parametrize("raw", ["", [], 5, None, [1, 2]])
def test_what_is_no_text_is_refused(raw):
    with pytest.raises(DataError, match="text"):
        TextInput(build_tokenizer("char", "ab")).encode(raw)


def test_numbers_are_steps_of_features():
    assert NumbersInput().encode([1, 2]).shape == (2, 1)
    assert NumbersInput(2).encode([[1, 2]]).dtype == np.float32


@pytest.mark.parametrize("raw", [[], [[1, 2]], ["a"], [1, float("inf")], 3.0, [[1], [1, 2]]])
def test_what_is_no_sequence_of_numbers_is_refused(raw):
    with pytest.raises(DataError):
        NumbersInput().encode(raw)
