"""Drawing the examples that a model is validated with."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from recurra.data.examples.examples import Examples
from recurra.data.examples.inputs import lower
from recurra.errors import DataError

__all__ = ["count_shared", "split_examples"]

SEED = 20


def split_examples(
    examples: Examples, fraction: float, *, name: str, stratify: bool = False, lowercase: bool = False
) -> tuple[list[int], list[int]]:
    """Return the numbers of the examples to train and to validate with, always the same for the same examples.

    Equal inputs are never on both sides.

    Args:
        fraction: share of the examples to validate with; 0 for none.
        name: what the examples are called.
        lowercase: texts that differ in case alone are equal.
        stratify: give both sides an equal share of each label; every label stays on the side that is trained on.
    Raises: DataError if there are not two inputs that differ.
    """
    if not fraction:
        return list(range(len(examples))), []
    groups: dict[Hashable, list[int]] = {}
    for number, raw in enumerate(examples.inputs):
        groups.setdefault(_key(raw, lowercase), []).append(number)
    if len(groups) < 2:
        raise DataError(f"all inputs of {name} are equal; give some that differ, or a validation part of its own")
    members = list(groups.values())
    random = np.random.default_rng(SEED)
    order = [int(n) for n in random.permutation(len(members))]
    kept: set[int] = set()
    if stratify and examples.targets is not None:
        labels = [examples.targets[numbers[0]] for numbers in members]
        order.sort(key=lambda n: labels[n])
        kept = {
            n for n, before in zip(order, [None, *order], strict=False) if before is None or labels[n] != labels[before]
        }
    # Every time the sum of what was passed goes through a whole number, an example is due: systematic sampling.
    due, chosen = float(random.random()), set[int]()
    for n in order:
        due += fraction * len(members[n])
        if due >= 1 and n not in kept:
            chosen.add(n)
            due -= len(members[n])
    if not chosen:
        chosen = set([n for n in order if n not in kept][-1:])
    sides: tuple[list[int], list[int]] = ([], [])
    for n, numbers in enumerate(members):
        sides[n in chosen].extend(numbers)
    return sorted(sides[0]), sorted(sides[1])


def count_shared(train: Examples, valid: Examples) -> int:
    """Return how many inputs of `valid` are also in `train`."""
    known = {_key(raw) for raw in train.inputs}
    return sum(_key(raw) in known for raw in valid.inputs)


def _key(raw: Any, lowercase: bool = False) -> Hashable:
    if isinstance(raw, str):
        return lower(raw) if lowercase else raw
    if isinstance(raw, np.ndarray):
        return raw.dtype.str, raw.shape, raw.tobytes()
    return tuple(_key(each, lowercase) for each in raw) if isinstance(raw, list | tuple) else repr(raw)
