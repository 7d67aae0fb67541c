"""Automata over bytes, against regular expressions and searches of Python."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.decoding import automaton_of_pattern, avoiding, both
from recurra.decoding.automaton import DEAD, START
from recurra.errors import ConfigError

pytest.importorskip("outlines_core")

texts = st.text("abé", max_size=8)
patterns = st.recursive(
    st.sampled_from(["a", "b", "é", "[ab]", "[^a]", "."]),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})")
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "{2}", "{1,3}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        )
    ),
    max_leaves=6,
)


def accepts(automaton, text):
    state = START
    for byte in text.encode():
        state = automaton.next[state, byte]
    return bool(automaton.accepting[state])


@settings(deadline=None)
@given(patterns, st.lists(texts, max_size=10))
def test_a_pattern_accepts_what_it_matches_as_a_whole(pattern, several):
    automaton = automaton_of_pattern(pattern)
    for text in ["", *several]:
        assert accepts(automaton, text) == bool(re.fullmatch(pattern, text))


@settings(deadline=None)
@given(st.lists(st.text("abé", min_size=1, max_size=4), min_size=1, max_size=4), st.lists(texts, max_size=10))
def test_avoiding_accepts_what_holds_none_of_the_texts(banned, several):
    automaton = avoiding(banned)
    assert not automaton.accepting[DEAD]
    for text in [*several, *banned]:
        assert accepts(automaton, text) == (not any(ban in text for ban in banned))


@settings(deadline=None)
@given(patterns, st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=2), st.lists(texts, max_size=10))
def test_both_accepts_what_each_accepts(pattern, banned, several):
    one, other = automaton_of_pattern(pattern), avoiding(banned)
    product = both(one, other)
    for text in ["", *several]:
        assert accepts(product, text) == (accepts(one, text) and accepts(other, text))


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "no regular expression"),
        (r"(a)\1", "no regular expression"),
        ("(?=a)b", "no regular expression"),
        ("a{3,1}", "no regular expression"),
        ("b|^a", "inside"),
        ("a$|b", "inside"),
        (r"ab\b", "inside"),
        ("a)(b", "no regular expression"),
        ("[a&&b]", "cannot be matched"),
        ("x{10001}", "10,000 times"),
        ("((ab){200}c){200}", "10,000 times"),
        ("x{99999999999}", "10,000 times"),
    ],
)
def test_patterns_that_cannot_be_used(pattern, says):
    with pytest.raises(ConfigError, match=says) as error:
        automaton_of_pattern(pattern)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pattern", ["^ab$", "^ab", "ab$", "(?i)Ab", r"\x61b", "[{]?[}]?ab", "(a{1}){1}b{1}"])
def test_what_is_around_and_inside_a_pattern(pattern):
    assert accepts(automaton_of_pattern(pattern), "ab")
    assert not accepts(automaton_of_pattern(pattern), "abb")


def test_a_space_behind_a_match():
    automaton = automaton_of_pattern("ab|(ab )*", trailing_space=True)
    assert [accepts(automaton, text) for text in ("", " ", "ab", "ab ", "ab ab ", "ab ab", "ab  ")] == [
        True, True, True, True, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", [r"\{20000\}", "[{]20000}", "(a{100})(b{100})(c{100})"])
def test_repetitions_are_counted_where_they_are_some(pattern):
    assert automaton_of_pattern(pattern).accepting.any()


def test_an_empty_text_cannot_be_avoided():
    with pytest.raises(ConfigError, match="must not be empty"):
        avoiding(["a", ""])
