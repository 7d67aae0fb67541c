"""Inputs and targets on disk: their settings as JSON, their tokenizers beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recurra.data.examples.inputs import Input, NumbersInput, TextInput
from recurra.data.examples.pictures import PictureInput
from recurra.data.examples.sound import SoundInput
from recurra.data.examples.targets import Labels, StepLabels, Target, TextTarget
from recurra.data.tokenizers import Tokenizer, load_tokenizer
from recurra.errors import ConfigError, DataError

__all__ = ["input_from_mapping", "load_formats", "save_formats", "target_from_mapping"]

INPUTS: dict[str, type[Input]] = {cls.kind: cls for cls in (TextInput, NumbersInput, SoundInput, PictureInput)}
TARGETS: dict[str, type[Target]] = {cls.kind: cls for cls in (Labels, StepLabels, TextTarget)}


def input_from_mapping(mapping: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> Input:
    """Make the input that `Input.as_mapping` described. Raises: DataError if it describes none."""
    return _from_mapping(INPUTS, mapping, tokenizer)  # type: ignore[no-any-return]


def target_from_mapping(mapping: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> Target:
    """Make the target that `Target.as_mapping` described. Raises: DataError if it describes none."""
    return _from_mapping(TARGETS, mapping, tokenizer)  # type: ignore[no-any-return]


def save_formats(folder: Path, input: Input, target: Target) -> None:
    """Write ``input.json`` and ``target.json`` into a folder, and ``*.tokenizer.json`` for those that are texts."""
    for name, each in (("input", input), ("target", target)):
        (folder / f"{name}.json").write_text(
            json.dumps(each.as_mapping(), indent=1, ensure_ascii=False), encoding="utf-8"
        )
        if isinstance(each, TextInput | TextTarget):
            each.tokenizer.save(folder / f"{name}.tokenizer.json")


def load_formats(folder: Path) -> tuple[Input, Target]:
    """Read what `save_formats` wrote.

    Raises: DataError if a file is missing or damaged; VocabularyError for a tokenizer that is.
    """
    input, target = (_load(folder, name, kinds) for name, kinds in (("input", INPUTS), ("target", TARGETS)))
    return input, target


def _load(folder: Path, name: str, kinds: Mapping[str, type[Any]]) -> Any:
    path = folder / f"{name}.json"
    try:
        mapping = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; train again") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path} is damaged: not JSON; copy it again, or train again") from None
    try:
        text = mapping["kind"] == "text"
        return _from_mapping(kinds, mapping, load_tokenizer(folder / f"{name}.tokenizer.json") if text else None)
    except (DataError, KeyError, TypeError):
        raise DataError(f"{path} is damaged: it describes no {name}; copy it again, or train again") from None


def _from_mapping(kinds: Mapping[str, type[Any]], mapping: Mapping[str, Any], tokenizer: Tokenizer | None) -> Any:
    settings = dict(mapping)
    kind = settings.pop("kind", None)
    if kind == "text":
        settings["tokenizer"] = tokenizer
    try:
        return kinds[kind](**settings)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError):
        raise DataError(f"{dict(mapping)!r:.80} describes none of {', '.join(kinds)}") from None
