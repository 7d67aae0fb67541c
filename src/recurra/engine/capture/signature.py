"""What a cell is, apart from the numbers in its tensors: cells of equal signature take the same steps."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

from torch import Tensor, nn

from recurra.state import named_leaves

__all__ = ["quick_signature", "signature"]

_PLAIN = (int, float, str, bool, bytes, type(None), complex)
_NUMBERS = frozenset({int, float, bool})
_MACHINERY = frozenset(vars(nn.Module())) - {"training"}
_TENSORS = {"_parameters", "_buffers", "_modules"}


def signature(cell: Any, inputs: Any) -> tuple[Hashable, list[Any]]:
    """Return a key for what ``cell.step`` does with inputs like these, and the objects that the key knows by identity.

    Whoever keeps the key must keep those objects, or their identities may pass to others.
    """
    held: list[Any] = []
    leaves = inputs if isinstance(inputs, tuple) else (inputs,)
    shapes = tuple((str(leaf.dtype), leaf.shape[2:]) for leaf in named_leaves(leaves).values())
    return (_describe(cell, held, 0), _structure(inputs), shapes), held


def quick_signature(cell: Any, inputs: Any) -> tuple[Hashable, list[Any]] | None:
    """Return a key for a cell without submodules or containers, by the identity of its attributes, or None for others.

    It costs a tenth of `signature`, and equal ones have equal signatures. Keep the objects as there.
    """
    if not isinstance(cell, nn.Module) or not isinstance(inputs, Tensor):
        return None
    fields = vars(cell)
    if fields["_modules"] or fields["_buffers"]:
        return None
    held = [value for name, value in fields.items() if name not in _MACHINERY]
    if not all(isinstance(value, _PLAIN) or callable(value) for value in held):
        return None
    parameters: dict[str, Any] = fields["_parameters"]
    tensors = tuple([(p.shape, p.dtype) for p in parameters.values() if p is not None])
    kind = _class(type(cell)), *map(id, held), *parameters
    return (kind, tensors, inputs.dtype, inputs.shape[2:]), held


def _class(kind: type) -> Hashable:
    """Return a key for what a class gives its cells: its step, and the plain values on it and the classes above."""
    values = [
        (name, value) for parent in _parents(kind) for name, value in vars(parent).items() if type(value) in _NUMBERS
    ]
    return (kind, getattr(kind, "step", None), *values)


@functools.lru_cache(512)
def _parents(kind: type) -> tuple[type, ...]:
    outer = ("torch", "builtins")
    return tuple(parent for parent in kind.__mro__ if parent.__module__.partition(".")[0] not in outer)


def _structure(tree: Any) -> Hashable:
    return None if isinstance(tree, Tensor) else (type(tree), *map(_structure, tree))


def _describe(thing: Any, held: list[Any], depth: int) -> Hashable:
    if isinstance(thing, Tensor):
        return ("tensor", thing.shape, thing.dtype, thing.device.type)
    if isinstance(thing, _PLAIN):
        return (type(thing), repr(thing) if isinstance(thing, float) else thing)
    if depth < 8:
        if isinstance(thing, nn.Module):
            fields = {name: value for name, value in vars(thing).items() if name not in _MACHINERY or name in _TENSORS}
            return (_class(type(thing)), _describe(fields, held, depth + 1))
        if isinstance(thing, dict):
            return ("dict", tuple((str(key), _describe(value, held, depth + 1)) for key, value in thing.items()))
        if isinstance(thing, (tuple, list)):
            return (type(thing), tuple(_describe(item, held, depth + 1) for item in thing))
    held.append(thing)
    return (type(thing), id(thing))
