"""Settings: frozen dataclasses, owned by what they configure, to and from plain mappings (TOML on disk)."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from recurra.errors import ConfigError, nearest

__all__ = ["as_mapping", "check_at_least", "check_choice", "check_probability", "from_mapping"]

C = TypeVar("C")

LARGEST = 2**31 - 1
"""Sizes and counts beyond it are slips of the finger, and more than the libraries below can count."""


def from_mapping(cls: type[C], values: Mapping[str, Any], where: str = "") -> C:
    """Build the dataclass `cls` from a mapping, nested mappings for nested dataclasses.

    Args:
        where: what the mapping is, for messages, e.g. ``"config.toml"``.
    Raises: ConfigError for an unknown key (with the nearest known one), a wrong type, or a value out of range.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    prefix = f"{where}: " if where else ""
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{prefix}unknown setting '{key}'{nearest(key, fields)}")
        hint = next(filter(dataclasses.is_dataclass, typing.get_args(hints[key])), hints[key])
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}'{key}' must be a table of settings, not {value!r}")
            arguments[key] = from_mapping(hint, value, f"{where} [{key}]" if where else "")
        else:
            arguments[key] = _convert(key, value, hint, prefix)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if not optional and field.name not in arguments:
            raise ConfigError(f"{prefix}the setting '{field.name}' is missing; give it a value")
    try:
        return cls(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from None


def as_mapping(config: Any) -> dict[str, Any]:
    """Return a dataclass as nested plain dictionaries; settings that are None are left out, as TOML has no null."""
    result = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is not None:
            result[field.name] = as_mapping(value) if dataclasses.is_dataclass(value) else value
    return result


def check_at_least(least: float, **values: int | float | None) -> None:
    """Raise ConfigError unless every given value is a number of at least `least`, integers below 2³¹; None passes."""
    for name, value in values.items():
        if value is not None and not value >= least:
            raise ConfigError(f"'{name}' must be at least {least}, not {value}")
        if isinstance(value, int) and value > LARGEST:
            raise ConfigError(f"'{name}' must be at most {LARGEST:,}, not {value:,}")


def check_probability(**values: float) -> None:
    """Raise ConfigError unless every value lies in [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ConfigError(f"'{name}' is a probability, at least 0 and below 1, not {value}")


def check_choice(known: Any, **values: str | None) -> None:
    """Raise ConfigError, with the nearest known name, unless every value is one of `known`; None passes."""
    for name, value in values.items():
        if value is not None and value not in known:
            raise ConfigError(f"unknown {name} '{value}'{nearest(value, known)}")


def _convert(key: str, value: Any, hint: Any, prefix: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if option is type(value) or (value is None and option is types.NoneType):
            return value
    wanted = " or ".join(option.__name__ for option in options if option is not types.NoneType)
    raise ConfigError(f"{prefix}'{key}' must be {wanted}, not {value!r}")
