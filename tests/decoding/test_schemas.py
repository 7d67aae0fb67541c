"""Schemas as patterns: every text that matches is valid, and what cannot be kept is refused."""

import json
import random
import re

import pytest

from recurra.decoding import automaton_of_pattern, pattern_of_schema
from recurra.decoding.automaton import START
from recurra.errors import ConfigError

pytest.importorskip("outlines_core")

ANY = {"type": "string"}
SCHEMAS = [
    ({"type": "integer"}, [0, -1, 12], ["01", "1.0", "-", '"1"']),
    ({"type": "number"}, [0, 1.5, -0.25], [".5", "1.", "true"]),
    ({"type": ["boolean", "null"]}, [True, None], ["0"]),
    (ANY, ["", "é x", 'a"b', "\n"], ["a", '"', '"a"b"', '"\\"']),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "é.c"], ['"a"', '"abcd"']),
    ({"type": "string", "pattern": "^[a-z]+|0$"}, ["ab", "0"], ['""', '"a0"', '"^a"']),
    ({"type": "string", "format": "date"}, ["2024-12-31"], ['"2024-02-30"', '"2024-13-01"', '"24-1-1"']),
    ({"enum": ["a.b", 1, None, [1]]}, ["a.b", 1, None, [1]], ['"axb"', "2"]),
    ({"type": "string", "enum": ["a", 1]}, ["a"], ["1"]),
    ({"const": {"a": 1}}, [{"a": 1}], ["{}"]),
    ({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]}, [3, "a"], ['"ab"']),
    ({"type": "array", "items": {"type": "integer"}}, [[], [1], [1, 2]], ["[1,]", "[,]", '["a"]']),
    ({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 2}, [[None], [None] * 2], ["[]"]),
    ({"type": "array", "items": {"type": "null"}, "minItems": 2}, [[None] * 2, [None] * 5], ["[]", "[null]"]),
    ({"type": "array", "items": {"type": "null"}, "maxItems": 0}, [[]], ["[null]"]),
    ({"type": "array", "prefixItems": [{"type": "null"}, {"type": "integer"}]}, [[None, 1]], ["[null]"]),
    (
        {
            "type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "integer"},
            "minItems": 2, "maxItems": 3,
        },
        [[None, 1], [None, 1, 2]],
        ["[null]", "[null, 1, 2, 3]"],
    ),
    (
        {
            "type": "object", "properties": {'q"': {"type": "null"}, "b": {"type": "integer"}, "c": ANY},
            "required": ["b"],
        },
        [{"b": 1}, {'q"': None, "b": 1}, {"b": 1, "c": "x"}, {'q"': None, "b": 0, "c": ""}],
        ["{}", '{"c": "x"}', '{"b": 1,}', '{"b": 1, "d": 2}'],
    ),
    (
        {"type": "object", "properties": {n: {"type": "null"} for n in "abc"}},
        [{}, {"a": None}, {"b": None}, {"c": None}, {"a": None, "c": None}, {"b": None, "c": None}],
        ["{,}", '{"a": null "b": null}'],
    ),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"x": 1, "y": 2}], ['{"x": "y"}']),
    (
        {"$ref": "#/$defs/p", "$defs": {"p": {"type": "array", "items": {"$ref": "#/$defs/q~1"}}, "q/": {"const": 7}}},
        [[], [7, 7]],
        ["[8]"],
    ),
]  # fmt: skip


def accepts(automaton, text):
    state = START
    for byte in text.encode():
        state = automaton.next[state, byte]
    return bool(automaton.accepting[state])


@pytest.mark.parametrize(("schema", "valid", "invalid"), SCHEMAS)
def test_a_schema_accepts_its_values_and_no_others(schema, valid, invalid):
    automaton = automaton_of_pattern(pattern_of_schema(schema))
    for value in valid:
        assert accepts(automaton, json.dumps(value, ensure_ascii=False)), value
        compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        assert accepts(automaton, compact) or "const" in schema, value
    for text in invalid:
        assert not accepts(automaton, text), text


@pytest.mark.parametrize("schema", [schema for schema, _, _ in SCHEMAS])
def test_texts_at_random_are_json(schema):
    automaton = automaton_of_pattern(pattern_of_schema(schema))
    chance = random.Random(0)
    found = 0
    for _ in range(300):
        state, text = START, b""
        while len(text) < 200 and not (automaton.accepting[state] and chance.random() < 0.3):
            options = automaton.next[state].nonzero()[0].tolist()
            if not options:
                break
            text += bytes([chance.choice(options)])
            state = automaton.next[state, text[-1]]
        if automaton.accepting[state]:
            json.loads(text.decode())
            found += 1
    assert found > 20


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ([], "must be an object"),
        ({}, "says no 'type'"),
        ({"type": "strin"}, "did you mean 'string'"),
        ({"type": "integer", "minimum": 3}, "'minimum' at #"),
        ({"type": "array", "items": {"type": "null"}, "uniqueItems": True}, "'uniqueItems'"),
        ({"allOf": [{"type": "null"}]}, "says no 'type'"),
        ({"type": "null", "not": {}}, "'not'"),
        ({"type": "array"}, "no 'items'"),
        ({"type": "array", "items": {"type": "nul"}}, "at #/items"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 3, "maxItems": 2}, "less than 'minItems'"),
        ({"type": "array", "prefixItems": [{"type": "null"}], "minItems": 2}, "as many items as it must"),
        ({"type": "array", "prefixItems": []}, "not empty"),
        ({"type": "object"}, "no 'properties'"),
        ({"type": "object", "properties": {"a": ANY}, "required": ["b"]}, "requires 'b'"),
        ({"type": "object", "properties": []}, "must be an object"),
        ({"type": "object", "properties": {"a": True}}, "at #/properties/a"),
        ({"type": "string", "minLength": -1}, "from 0 on"),
        ({"type": "string", "maxLength": "x"}, "from 0 on"),
        ({"type": "string", "maxLength": True}, "from 0 on"),
        ({"type": "string", "pattern": "("}, "no regular expression"),
        ({"type": "string", "pattern": "."}, "allows quotes"),
        ({"type": "string", "pattern": "a", "maxLength": 3}, "keep one"),
        ({"type": "string", "format": "dat"}, "did you mean 'date'"),
        ({"type": "integer", "enum": ["a"]}, "no value"),
        ({"enum": []}, "not empty"),
        ({"anyOf": {}}, "must be a list"),
        ({"$ref": "http://example.org/x"}, "same file"),
        ({"$ref": "#/$defs/a"}, "not there"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}, "holds itself"),
        ({"type": "array", "items": {"$ref": "#"}}, "holds itself"),
        ({"type": {"a": 1}}, "type"),
        ({"type": [["null"]]}, "type"),
        ({"type": "string", "format": []}, "format"),
        ({"type": "object", "properties": {"a": ANY}, "required": [[]]}, "list of names"),
    ],
    ids=str,
)
def test_schemas_that_cannot_be_kept(schema, says):
    with pytest.raises(ConfigError, match=re.escape(says)) as error:
        pattern_of_schema(schema)
    assert "\n" not in str(error.value)


def test_a_schema_too_deep_is_refused():
    schema = {"type": "null"}
    for _ in range(3000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(ConfigError, match="nested too deeply"):
        pattern_of_schema(schema)


def test_remarks_are_no_matter():
    plain = {"type": "integer"}
    assert pattern_of_schema({**plain, "title": "t", "description": "d", "$schema": "s"}) == pattern_of_schema(plain)
