"""What is wished of a text, by real models of every tokenizer."""

import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data import build_tokenizer
from recurra.decoding import Banned, Forced
from recurra.errors import ConfigError, VocabularyError
from recurra.models import LanguageModel, Wishes, generate_text, generate_texts, make_controls

pytest.importorskip("outlines_core")

TEXT = 'ab ba abba é a "b" { } : , 0 1 2 true\nab é ba\n' * 20
KINDS = ("char", "byte", "word", "bpe")
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string", "maxLength": 3}},
    "required": ["b"],
}


def language_model(kind, seed=0, end=False):
    torch.manual_seed(seed)
    options = {"vocab": 300} if kind == "bpe" else {}
    tokenizer = build_tokenizer(kind, [TEXT], end=end, unknown=kind in ("char", "word"), **options)
    model = LanguageModel(tokenizer, hidden=4).double().eval()
    with torch.no_grad():  # far from uniform
        model.bias.normal_(std=2.0)
    return model


MODELS = {(kind, end): language_model(kind, end=end) for kind in KINDS for end in (False, True)}

words = st.recursive(
    st.sampled_from(["ab", "ba", "a", "é", "abba"]).map(lambda word: f"(?:{word} )"),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})")
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}"])).map(lambda two: f"(?:{two[0]}){two[1]}")
    ),
    max_leaves=5,
)
letters = st.recursive(
    st.sampled_from(["a", "b", "é", " ", "[ab]", "[^a]", "."]),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})")
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}"])).map(lambda two: f"(?:{two[0]}){two[1]}")
    ),
    max_leaves=5,
)
few = settings(deadline=None, max_examples=12)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(data=st.data(), end=st.booleans(), tokens=st.integers(1, 30), seed=st.integers(0, 99))
def test_every_text_matches_its_pattern_or_none_is_made(kind, data, end, tokens, seed):
    pattern = data.draw(words if kind == "word" else letters)
    model = MODELS[kind, end]
    (control,), _ = make_controls(model, Wishes(regex=pattern), tokens=1000)
    if control.shortest > tokens:
        with pytest.raises(ConfigError, match=f"has {control.shortest} tokens; allow more"):
            generate_texts(model, samples=5, tokens=tokens, seed=seed, regex=pattern)
        return
    for text in generate_texts(model, samples=5, tokens=tokens, seed=seed, regex=pattern):
        bare = text.removesuffix(" ") if kind == "word" else text
        assert re.fullmatch(pattern, text) or re.fullmatch(pattern, bare)
        assert "\ufffd" not in text


def test_a_word_may_leave_out_the_space_behind_it():
    texts = generate_texts(MODELS["word", False], samples=9, tokens=5, regex="ab (ba|abba)")
    assert set(texts) == {"ab ba ", "ab abba "}


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
@pytest.mark.parametrize("tokens", [13, 40])
def test_json_is_valid_by_its_schema(kind, tokens):
    schema = SCHEMA if kind != "char" else {"type": "array", "items": {"type": "integer"}}
    model = MODELS[kind, True]
    if kind == "char":  # its vocabulary has no square brackets
        schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string", "maxLength": 3}}}
    for text in generate_texts(model, samples=30, tokens=tokens, json_schema=schema):
        value = json.loads(text)
        assert set(value) <= {"a", "b"}
        assert set(schema.get("required", [])) <= set(value)
        assert type(value.get("a", 0)) is int
        assert isinstance(value.get("b", ""), str)
        assert len(value.get("b", "")) <= 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "wishes",
    [
        {"repetition_penalty": 1.5, "ban": ["ba", "\n"], "force": "ab ", "min_p": 0.02, "typical": 0.95, "top_p": 0.99},
        {
            "repetition_penalty": 1.2,
            "regex": "(ab |ba |é |a |\n){5,12}",
            "ban": "é a",
            "force": "ab ",
            "temperature": 1.5,
        },
    ],
)
def test_a_sample_does_not_depend_on_those_beside_it(kind, wishes):
    model = MODELS[kind, True]
    many = generate_texts(model, "ab ", samples=7, tokens=20, seed=4, **wishes)
    assert many[:2] == generate_texts(model, "ab ", samples=2, tokens=20, seed=4, **wishes)
    assert many[0] == "".join(generate_text(model, "ab ", tokens=20, seed=4, **wishes))
    assert all(text.startswith("ab ") for text in many)
    assert not any(ban in text for text in many for ban in ([wishes["ban"]] if "regex" in wishes else wishes["ban"]))
    assert len(set(many)) > 1


@pytest.mark.parametrize(
    "change",
    [
        {"repetition_penalty": 9.0},
        {"ban": "a"},
        {"force": "ba"},
        {"regex": "[ab]{9}"},
        {"json_schema": {"type": "integer"}},
        {"min_p": 1.0},
        {"typical": 0.05},
        {"controls": [Banned([0, 1, 2])]},
    ],
)
def test_every_setting_changes_the_text(change):
    model = MODELS["char", False]
    assert model.generate("ab", tokens=12, **change) != model.generate("ab", tokens=12)


def test_settings_that_are_tried_are_all_there_are():
    assert set(Wishes.__dataclass_fields__) == {"repetition_penalty", "ban", "force", "regex", "json_schema"}


def test_controls_for_a_search_of_ones_own():
    model = MODELS["char", True]
    controls, end = make_controls(model, Wishes(regex="a+", force="a"), tokens=4, controls=[Forced([0])])
    assert [type(control).__name__ for control in controls] == ["Forced", "Forced", "Constraint"]
    assert end == len(model.vocabulary)
    assert make_controls(model, Wishes(), tokens=4) == ((), model.vocabulary.end)
    assert make_controls(MODELS["char", False], Wishes(ban="a"), tokens=4)[1] is None


@pytest.mark.parametrize(
    ("wishes", "error", "says"),
    [
        ({"regex": "a", "json_schema": {"type": "null"}}, ConfigError, "not both"),
        ({"regex": "a", "stop": "b"}, ConfigError, "cut a match short"),
        ({"regex": "x"}, ConfigError, "no text of this vocabulary matches the pattern 'x'"),
        ({"json_schema": {"type": "array", "items": {"type": "null"}}}, ConfigError, "matches the JSON schema"),
        ({"regex": "a{9}"}, ConfigError, "has 9 tokens; allow more than 5"),
        ({"regex": "a{4}", "force": "b"}, ConfigError, "begins with the forced text"),
        ({"regex": "ab", "ban": "b"}, ConfigError, "no text of this vocabulary"),
        ({"force": ""}, ConfigError, "must not be empty"),
        ({"force": "aaaaaa"}, ConfigError, "has 6 tokens; allow more than 5"),
        ({"force": "xa"}, VocabularyError, "'x'"),
        ({"force": "aba", "ban": "ab"}, ConfigError, "holds a banned one"),
        ({"ban": ""}, ConfigError, "must not be empty"),
        ({"ban": [*dict.fromkeys(TEXT), "<unk>"]}, ConfigError, "nothing left to write"),
        ({"repetition_penalty": 0.0}, ConfigError, "repetition_penalty"),
        ({"regx": "a"}, ConfigError, "did you mean 'regex'"),
        ({"topk": 3}, ConfigError, "did you mean 'top_k'"),
    ],
    ids=str,
)
def test_wishes_that_cannot_be_fulfilled(wishes, error, says):
    with pytest.raises(error, match=re.escape(says)):
        MODELS["char", False].generate(tokens=5, **wishes)
