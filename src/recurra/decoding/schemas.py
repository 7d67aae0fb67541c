"""JSON schemas as regular expressions: what they describe, or an error; never something near to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recurra.config import LARGEST
from recurra.decoding.automaton import DEAD, automaton_of_pattern, body_of
from recurra.errors import ConfigError, nearest

__all__ = ["pattern_of_schema"]

COMMA = " ?, ?"
CHARACTER = r'(?:[^"\\\x00-\x1F\x7F-\x9F]|\\["\\/bfnrt])'
INTEGER = "(?:0|-?[1-9][0-9]*)"
NUMBER = r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)"
PLAIN = {"integer": INTEGER, "number": NUMBER, "boolean": "(?:true|false)", "null": "null"}
# Every text that these match is one of the format, though not every one of the format is matched.
DATE = (
    "[12][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"
FORMATS = {
    "date": DATE,
    "time": TIME,
    "date-time": f"{DATE}T{TIME}",
    "uuid": "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "email": r"[a-z0-9]+(?:[.-][a-z0-9]+)*@[a-z0-9]+(?:\.[a-z0-9]+)+",
}
REMARKS = {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples"}
KEYWORDS = {
    "string": {"minLength", "maxLength", "pattern", "format"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties"},
    **{name: set() for name in PLAIN},
}
TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def pattern_of_schema(schema: Mapping[str, Any]) -> str:
    """Return a regular expression of JSON texts that are valid by a schema.

    Properties come in the order of the schema, those that are not required may be missing, and others do not come.
    Between the parts there may be one space. A pattern within the schema holds for the whole of its string.

    Args:
        schema: of the keywords type, enum, const, anyOf, $ref to its own parts, and those of `KEYWORDS`.
    Raises: ConfigError for one that is no schema, or says what cannot be kept.
    """
    try:
        return _Translation(schema).of(schema, "#")
    except RecursionError:
        raise ConfigError("the schema is nested too deeply; make it flatter") from None


class _Translation:
    """The parts of one schema; `where` is the path to a part, for messages and references."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._inside: list[str] = []

    def of(self, schema: Any, where: str) -> str:
        if not isinstance(schema, dict):
            raise ConfigError(f"the schema at {where} must be an object that says what is allowed, not {schema!r}")
        if "$ref" in schema:
            _check_keywords(schema, {"$ref"}, where)
            return self._reference(schema["$ref"], where)
        if "enum" in schema or "const" in schema:
            return _values(schema, where)
        if "anyOf" in schema:
            _check_keywords(schema, {"anyOf"}, where)
            parts = _list(schema, "anyOf", where)
            return _any(self.of(part, f"{where}/anyOf/{n}") for n, part in enumerate(parts))
        types = _types(schema, where)
        if not types:
            raise ConfigError(f"the schema at {where} says no 'type'; give it one: {', '.join(KEYWORDS)}")
        _check_keywords(schema, {"type"}.union(*(KEYWORDS[name] for name in types)), where)
        return _any(self._typed(name, schema, where) for name in types)

    def _typed(self, name: str, schema: dict[str, Any], where: str) -> str:
        if name == "string":
            return _string(schema, where)
        if name == "array":
            return self._array(schema, where)
        if name == "object":
            return self._object(schema, where)
        return PLAIN[name]

    def _reference(self, target: Any, where: str) -> str:
        if not isinstance(target, str) or not target.startswith("#"):
            raise ConfigError(f"'$ref' at {where} must lead to a part of the same file, such as #/$defs/name")
        if target in self._inside or target == "#":
            raise ConfigError(f"'$ref' at {where} leads to {target}, which holds itself; a pattern has no such depth")
        part = self._root
        for name in target.split("/")[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            if not isinstance(part, dict) or name not in part:
                raise ConfigError(f"'$ref' at {where} leads to {target}, which is not there")
            part = part[name]
        self._inside.append(target)
        pattern = self.of(part, target)
        self._inside.pop()
        return pattern

    def _array(self, schema: dict[str, Any], where: str) -> str:
        items = schema.get("items", False)
        if items is False and "prefixItems" not in schema:
            raise ConfigError(f"the array at {where} says no 'items'; say what they are")
        first = _list(schema, "prefixItems", where) if "prefixItems" in schema else []
        least, most = _range(schema, "minItems", "maxItems", where)
        fixed = [self.of(part, f"{where}/prefixItems/{n}") for n, part in enumerate(first)]
        least = max(0, least - len(fixed))
        if items is False:
            most = len(fixed) if most is None else min(most, len(fixed))
        if most is not None and most < least + len(fixed):
            raise ConfigError(f"the array at {where} cannot have as many items as it must")
        if items is False:
            return rf"\[ ?{COMMA.join(fixed)} ?\]"
        item = self.of(items, f"{where}/items")
        rest = None if most is None else most - len(fixed)
        if fixed:
            return rf"\[ ?{COMMA.join(fixed)}(?:{COMMA}{item}){_count(least, rest)} ?\]"
        if rest == 0:
            return r"\[ ?\]"
        more = f"{item}(?:{COMMA}{item}){_count(max(0, least - 1), None if rest is None else rest - 1)}"
        return rf"\[ ?{more if least else f'(?:{more})?'} ?\]"

    def _object(self, schema: dict[str, Any], where: str) -> str:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        named = isinstance(required, list) and all(isinstance(name, str) for name in required)
        if not isinstance(properties, dict) or not named:
            raise ConfigError(f"in {where}, 'properties' must be an object, and 'required' a list of names")
        if missing := [name for name in required if name not in properties]:
            raise ConfigError(f"{where} requires {missing[0]!r}, which is not in its 'properties'; describe it there")
        if not properties:
            others = schema.get("additionalProperties", True)
            if not isinstance(others, dict):
                raise ConfigError(f"the object at {where} says no 'properties'; say what they are")
            pair = f'"{CHARACTER}*" ?: ?{self.of(others, f"{where}/additionalProperties")}'
            return rf"\{{ ?(?:{pair}(?:{COMMA}{pair})*)? ?\}}"
        pairs = [
            f"{_literal(name)} ?: ?{self.of(part, f'{where}/properties/{name}')}" for name, part in properties.items()
        ]
        return rf"\{{ ?{_some(pairs, [name in required for name in properties])} ?\}}"


def _some(pairs: Sequence[str], needed: Sequence[bool]) -> str:
    """Return a pattern of pairs in their order, with commas between, of which those that are not needed may miss."""
    # From the last to the first: what may come after another pair, and what may come if none has come so far.
    after, first = "", ""
    for pair, is_needed in zip(reversed(pairs), reversed(needed), strict=True):
        first = f"{pair}{after}" if is_needed else f"(?:{pair}{after}|{first})"
        after = f"{COMMA}{pair}{after}" if is_needed else f"(?:{COMMA}{pair})?{after}"
    return first


def _values(schema: dict[str, Any], where: str) -> str:
    _check_keywords(schema, {"type", "enum" if "enum" in schema else "const"}, where)
    values = _list(schema, "enum", where) if "enum" in schema else [schema["const"]]
    types = _types(schema, where)
    fitting = [value for value in values if not types or any(TYPES[name](value) for name in types)]
    if not fitting:
        raise ConfigError(f"no value of the schema at {where} is of its type")
    return _any(_literal(value) for value in fitting)


def _string(schema: dict[str, Any], where: str) -> str:
    least, most = _range(schema, "minLength", "maxLength", where)
    if len({"pattern", "format"} & set(schema)) + bool({"minLength", "maxLength"} & set(schema)) > 1:
        raise ConfigError(f"the string at {where} has more than one of a pattern, a format and a length; keep one")
    if "format" in schema:
        if not isinstance(schema["format"], str) or schema["format"] not in FORMATS:
            raise ConfigError(
                f"unknown format {schema['format']!r} at {where}{nearest(str(schema['format']), FORMATS)}"
            )
        return f'"{FORMATS[schema["format"]]}"'
    if "pattern" not in schema:
        return f'"{CHARACTER}{_count(least, most)}"'
    pattern = body_of(str(schema["pattern"]))
    automaton = automaton_of_pattern(pattern)
    # Inside quotes a quote, a backslash or a control character would be something else.
    if (automaton.next[:, [*range(32), ord('"'), ord("\\")]] != DEAD).any():
        raise ConfigError(f"the pattern at {where} allows quotes, backslashes or control characters; exclude them")
    return f'"(?:{pattern})"'


def _types(schema: dict[str, Any], where: str) -> list[str]:
    given = schema.get("type", [])
    names = given if isinstance(given, list) else [given]
    for name in names:
        if not isinstance(name, str) or name not in KEYWORDS:
            raise ConfigError(f"unknown type {name!r} at {where}{nearest(str(name), KEYWORDS)}")
    return names


def _check_keywords(schema: dict[str, Any], known: set[str], where: str) -> None:
    for keyword in schema:
        if keyword not in known | REMARKS:
            raise ConfigError(f"the schema says {keyword!r} at {where}, which cannot be kept there; leave it out")


def _list(schema: dict[str, Any], keyword: str, where: str) -> list[Any]:
    value = schema[keyword]
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{keyword!r} at {where} must be a list that is not empty")
    return value


def _range(schema: dict[str, Any], low: str, high: str, where: str) -> tuple[int, int | None]:
    least, most = schema.get(low, 0), schema.get(high)
    for keyword, value in ((low, least), (high, most)):
        if value is not None and not (TYPES["integer"](value) and 0 <= value <= LARGEST):
            raise ConfigError(f"{keyword!r} at {where} must be a number from 0 on, not {value!r}")
    if most is not None and most < least:
        raise ConfigError(f"{high!r} at {where} is less than {low!r}")
    return least, most


def _count(least: int, most: int | None) -> str:
    if least == 0 and most is None:
        return "*"
    return f"{{{least},{'' if most is None else most}}}"


def _any(patterns: Any) -> str:
    return f"(?:{'|'.join(patterns)})"


def _literal(value: Any) -> str:
    return re.escape(json.dumps(value, ensure_ascii=False))
