"""What texts must match: regular expressions and JSON schemas from a user, and loops that were exported as text.

What could go wrong: repetitions of repetitions make automata that fill the memory; brackets that do not close reach a
library that panics; schemas that refer to themselves never end; a graph of an exported loop reads memory that is not
there.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import cases, mutated_text, survives

from recurra.decoding import automaton as automata
from recurra.decoding.schemas import pattern_of_schema
from recurra.engine.text import read_loop
from recurra.errors import ConfigError

PROBING = ("subprocess.Popen", "os.posix_spawn")
"""A pattern that may need all memory is tried in another process first."""
PATTERNS = (r"[0-9]{3}-[a-z]+(?:ab|cd)*", r"\d+\.\d*", r"(?:[^\"\\]|\\.)*", "a?b*c+", r"\p{L}{2,5}", "^x|y$")
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": ["integer", "null"]},
            "tags": {"type": "array", "items": {"enum": ["a", "b", 1]}, "maxItems": 3},
            "when": {"$ref": "#/$defs/when"},
        },
        "required": ["name"],
        "$defs": {"when": {"type": "string", "format": "date"}},
    }
)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@cases(20)
@given(st.sampled_from(PATTERNS).flatmap(mutated_text) | st.text("()[]{}*+?|\\^$.,0123456789abc-", max_size=25))
def test_a_pattern_is_read_or_refused(pattern):
    pytest.importorskip("outlines_core")
    survives(lambda: automata.automaton_of_pattern(pattern), allowed=PROBING)


@cases(20)
@given(mutated_text(SCHEMA))
def test_a_schema_is_read_or_refused(text):
    def read():
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError):
            raise ConfigError("no JSON") from None
        return pattern_of_schema(schema)

    survives(read, allowed=PROBING)


@cases(20)
@given(mutated_text('{"format": 1, "dtype": "float", "fed": [0], "fresh": [], "graph": {"streams": [[4, 0, true]]}}'))
def test_an_exported_loop_is_read_or_refused(text):
    survives(lambda: read_loop(text))
