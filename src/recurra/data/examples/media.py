"""Sounds and pictures of examples: from paths to what models read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from recurra.data.examples.config import DatasetConfig
from recurra.data.examples.examples import Examples
from recurra.data.examples.faults import Faults
from recurra.data.examples.inputs import Input
from recurra.data.examples.pictures import PICTURES, PictureInput, picture_shape, read_picture
from recurra.data.examples.sound import HIGHEST_RATE, SOUNDS, SoundInput, read_sound, sound_rate
from recurra.errors import DataError

__all__ = ["is_media", "media_input", "names_media", "read_media"]

LARGEST_SIDE = 64
LOOKED_AT = 100
"""Pictures whose headers tell whether there are colours."""


def is_media(value: Any) -> str | None:
    """Return sound or picture for a path with such an ending, else None."""
    return _by_ending(value.name) if isinstance(value, Path) else None


def names_media(value: Any) -> bool:
    """Whether a cell of a table is the name of such a file."""
    return isinstance(value, str) and _by_ending(value) is not None


def media_input(config: DatasetConfig, examples: Examples) -> Input:
    """Return the input that fits sounds or pictures: settings, where there are none as the first file has them.

    Raises: DataError if no file can be read.
    """
    if is_media(examples.inputs[0]) == "sound":
        rate = config.rate or min(_first(sound_rate, examples), HIGHEST_RATE)
        return SoundInput(rate, config.mels)
    first = _first(picture_shape, examples)
    grey = all(_channels(path) == 1 for path in examples.inputs[:LOOKED_AT])
    if config.size is not None:
        height = width = config.size
    else:
        shrunk = min(1.0, LARGEST_SIDE / max(first.height, first.width))
        height, width = (max(1, round(side * shrunk)) for side in (first.height, first.width))
    return PictureInput(height, width, 1 if grey else 3)


def read_media(
    examples: Examples, input: Input, faults: Faults, progress: Callable[[int, int], None] | None = None
) -> Examples:
    """Return the examples with what their paths hold; files that cannot be read are faults.

    Raises: DataError if the input is of another kind.
    """
    if input.kind != is_media(examples.inputs[0]):
        raise DataError(
            f"{examples.places[0]}: the model reads {input.kind}, and this is a {is_media(examples.inputs[0])}"
        )
    kept, raws, changes = list[int](), list[Any](), Counter[str]()
    for number, path in enumerate(examples.inputs):
        try:
            raw, change = _read(path, input)
        except DataError as error:
            reason = str(error).partition(f"{path}: ")[2]
            faults.add(examples.places[number], f"cannot read the {input.kind}", f" {path.name}: {reason}")
        else:
            kept.append(number)
            raws.append(raw)
            changes.update([change] if change else [])
        if progress is not None:
            progress(number + 1, len(examples))
    notes = [f"{change}: {count:,} {'file' if count == 1 else 'files'}" for change, count in sorted(changes.items())]
    return replace(examples.take(kept), inputs=raws, notes=[*examples.notes, *notes])


def _read(path: Path, input: Input) -> tuple[Any, str | None]:
    """Return what a file holds, and how it was changed."""
    if isinstance(input, SoundInput):
        sound = read_sound(path, input.rate)
        changed = sound.file_rate != input.rate
        return sound.waveform, f"resampled from {sound.file_rate:,} to {input.rate:,} Hz" if changed else None
    assert isinstance(input, PictureInput)
    shape = picture_shape(path)
    changed = (shape.height, shape.width) != (input.height, input.width)
    points = read_picture(path, input.height, input.width, input.channels)
    return points, f"resized to {input.height}×{input.width}" if changed else None


def _first(probe: Callable[[Path], Any], examples: Examples) -> Any:
    """Return what a probe says about the first file that it can read."""
    problems = []
    for place, path in zip(examples.places, examples.inputs, strict=True):
        try:
            return probe(path)
        except DataError as error:
            problems.append(f"{place}: {error}")
    raise DataError(f"{problems[0]}; paths in a table are relative to its folder")


def _by_ending(name: str) -> str | None:
    kind = Path(name).suffix.lower() if name.split() == [name] else ""
    return "sound" if kind in SOUNDS else "picture" if kind in PICTURES else None


def _channels(path: Path) -> int:
    try:
        return picture_shape(path).channels
    except DataError:
        return 1
