"""Examples on disk: texts, labels and places as lines of JSON, arrays in one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recurra.data.examples.examples import Examples
from recurra.errors import DataError

__all__ = ["load_examples", "save_examples"]

FORMAT = 1
LINES, ARRAYS = "examples.jsonl", "arrays.safetensors"


def save_examples(folder: Path, examples: Examples) -> None:
    """Write examples into a folder that exists. Arrays of one type lie one after the other; lines hold their shapes."""
    flat: dict[str, list[Any]] = {}
    first = {
        "version": FORMAT,
        "examples": len(examples),
        "targets": examples.targets is not None,
        "notes": list(examples.notes),
    }
    lines = [first]
    for number, raw in enumerate(examples.inputs):
        line: dict[str, Any] = {"place": examples.places[number]}
        if isinstance(raw, np.ndarray):
            flat.setdefault(raw.dtype.name, []).append(raw.reshape(-1))
            line |= {"array": raw.dtype.name, "shape": raw.shape}
        else:
            line["input"] = raw
        if examples.targets is not None:
            line["target"] = examples.targets[number]
        lines.append(line)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / LINES).write_bytes(text.encode("utf-8", "surrogatepass"))
    if flat:
        save_file({name: np.concatenate(arrays) for name, arrays in flat.items()}, folder / ARRAYS)


def load_examples(folder: Path) -> Examples:
    """Read what `save_examples` wrote. Raises: DataError if it is missing, damaged or of a newer version."""
    path = folder / LINES
    try:
        text = path.read_bytes().decode("utf-8", "surrogatepass")
        first, *lines = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
        if first["version"] != FORMAT:
            raise DataError(f"{path} is of version {first['version']}, this recurra reads {FORMAT}; upgrade recurra")
        arrays = load_file(folder / ARRAYS) if any("array" in line for line in lines) else {}
        used = dict.fromkeys(arrays, 0)
        inputs = [_take(line, arrays, used) if "array" in line else line["input"] for line in lines]
        targets = [line["target"] for line in lines] if first["targets"] else None
        places = [line["place"] for line in lines]
        whole = first["examples"] == len(lines) and all(used[name] == len(arrays[name]) for name in arrays)
        notes = list(first["notes"])
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; make the data set again") from None
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError):
        whole = False
    if not whole:
        raise DataError(f"the examples in {folder} are damaged; make the data set again from its source")
    return Examples(inputs, targets, places, notes)


def _take(line: Any, arrays: Any, used: dict[str, int]) -> Any:
    """Cut the next array of its type off, in the shape that the line gives."""
    name, shape = line["array"], tuple(line["shape"])
    start = used[name]
    used[name] = stop = start + int(np.prod(shape))
    return arrays[name][start:stop].reshape(shape)
