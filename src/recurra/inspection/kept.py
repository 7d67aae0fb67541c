"""The memory that a graph of autograd keeps for its backward pass, found by walking through the graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from recurra.engine.native.workspace import Loan

__all__ = ["kept_bytes"]

SAVED = "_saved_"
"""Prefix under which the nodes that torch has built in tell what they keep."""


def kept_bytes(result: Tensor, *, apart_from: Iterable[Tensor] = ()) -> int:
    """Return the bytes that live as long as the graph of a result does, for the sake of its backward pass.

    Counted is the memory behind every tensor that a node of the graph refers to, once each: what torch's own nodes
    have saved, what functions in Python have saved, and what these keep besides, such as the histories of compiled
    scans. What a backward pass takes while it runs is not counted, nor what the allocator holds for later.

    Args:
        apart_from: tensors that live anyhow, such as parameters.
    """
    ours = {tensor.untyped_storage().data_ptr() for tensor in apart_from}
    found: dict[int, int] = {}
    for node in _nodes(result.grad_fn):
        for tensor, size in _tensors(_refers_to(node), set()):
            address = tensor.untyped_storage().data_ptr()
            if address not in ours:
                found[address] = size
    return sum(found.values())


def _nodes(root: Any) -> Iterator[Any]:
    seen, waiting = {root}, [root] if root is not None else []
    while waiting:
        node = waiting.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def _refers_to(node: Any) -> list[Any]:
    if isinstance(node, torch.autograd.function.BackwardCFunction):  # a function in Python, itself the context
        return [node.saved_tensors, vars(node)]
    return [getattr(node, name) for name in dir(node) if name.startswith(SAVED)]


def _tensors(thing: Any, seen: set[int]) -> Iterator[tuple[Tensor, int]]:
    """Every tensor in a tree of containers, and in memory that compiled scans have on loan, with the bytes it holds."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield thing, thing.untyped_storage().nbytes()
    elif isinstance(thing, dict):
        yield from (found for value in thing.values() for found in _tensors(value, seen))
    elif isinstance(thing, list | tuple):
        yield from (found for value in thing for found in _tensors(value, seen))
    elif isinstance(thing, Loan):  # its memory may be larger, by chance: what an earlier scan happened to give back
        yield thing.tensor, thing.tensor.numel() * thing.tensor.element_size()
