"""Functions on states.

A state is a value: any tree of NamedTuples and tuples whose leaves are tensors with the batch axis first. It goes
into a scan and comes out of it with the same type; nothing is kept on a module.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from recurra.errors import ShapeError, StateError

__all__ = [
    "batch_size",
    "check_like",
    "detach",
    "digest",
    "digest_tensors",
    "fork",
    "from_named",
    "load",
    "map_leaves",
    "named_leaves",
    "num_bytes",
    "reset",
    "save",
    "select",
]

S = TypeVar("S")


def map_leaves(fn: Callable[..., Tensor], state: S, *others: S) -> S:
    """Apply `fn` to each leaf (and the matching leaves of `others`); the result has the type of `state`.

    Raises: StateError if the trees differ in structure or hold something that is not a tensor.
    """
    if isinstance(state, Tensor):
        if not all(isinstance(other, Tensor) for other in others):
            raise StateError("states differ in structure: a tensor meets a tuple; use states of one cell")
        return cast(S, fn(state, *others))
    if isinstance(state, tuple):
        for other in others:
            if type(other) is not type(state) or len(other) != len(state):  # type: ignore[arg-type]
                raise StateError(
                    f"states differ in structure: {_describe(state)} meets {_describe(other)}; use states of one cell"
                )
        mapped = [map_leaves(fn, *branches) for branches in zip(state, *others, strict=True)]
        return cast(S, type(state)(*mapped) if hasattr(state, "_fields") else tuple(mapped))
    raise StateError(f"a state is a tree of tuples and tensors, not {type(state).__name__}")


def named_leaves(state: Any) -> dict[str, Tensor]:
    """Return the leaves by path, such as ``"0.h"``; the path of a bare tensor is the empty string."""
    if isinstance(state, Tensor):
        return {"": state}
    if not isinstance(state, tuple):
        raise StateError(f"a state is a tree of tuples and tensors, not {type(state).__name__}")
    names = getattr(state, "_fields", None) or [str(i) for i in range(len(state))]
    return {
        f"{name}.{path}" if path else name: leaf
        for name, branch in zip(names, state, strict=True)
        for path, leaf in named_leaves(branch).items()
    }


def from_named(like: S, leaves: Mapping[str, Tensor]) -> S:
    """Rebuild a state with the structure of `like` from leaves by path, the inverse of `named_leaves`.

    The batch size may differ from that of `like`; all else must agree.
    Raises: StateError if a leaf is missing, left over, of another type or shape, or if batch sizes differ.
    """
    expected = named_leaves(like)
    if set(expected) != set(leaves):
        raise StateError(f"the state holds {sorted(leaves)} where {sorted(expected)} was expected")
    for path, leaf in expected.items():
        found = leaves[path]
        if found.dtype != leaf.dtype or found.shape[1:] != leaf.shape[1:]:
            raise StateError(
                f"leaf '{path}' of the state is {found.dtype} {tuple(found.shape)}, expected {leaf.dtype} "
                f"(batch, {', '.join(map(str, leaf.shape[1:]))})"
            )
    remaining = iter(expected)
    restored = map_leaves(lambda leaf: leaves[next(remaining)].to(leaf.device), like)
    batch_size(restored)
    return restored


def batch_size(state: Any) -> int | None:
    """Return the common batch size of all leaves, or None for a state without leaves.

    Raises: StateError if leaves disagree.
    """
    sizes = [leaf.shape[0] if leaf.ndim else None for leaf in named_leaves(state).values()]  # may be symbols: no set
    if None in sizes or any(size != sizes[0] for size in sizes):
        raise StateError(f"leaves of a state must share their first axis, the batch; found sizes {set(sizes)}")
    return sizes[0] if sizes else None


def check_like(state: Any, like: Any, what: str) -> None:
    """Check that a state has the structure and the shapes of another.

    Args:
        what: what the state is, for the message.
    Raises: StateError if it has not.
    """
    if type(state) is not type(like) and not (isinstance(state, Tensor) and isinstance(like, Tensor)):
        raise StateError(f"{what} is a {_describe(state)} where the cell's zero_state is a {_describe(like)}")
    if isinstance(state, Tensor):
        if state.shape != like.shape:
            raise StateError(
                f"{what} has shape {tuple(state.shape)} where the cell's zero_state has {tuple(like.shape)}"
            )
        return
    if len(state) != len(like):
        raise StateError(f"{what} is a {_describe(state)} where the cell's zero_state is a {_describe(like)}")
    for branch, other in zip(state, like, strict=True):
        check_like(branch, other, what)


def num_bytes(state: Any) -> int:
    """Return the memory that the leaves take, in bytes."""
    return sum(leaf.numel() * leaf.element_size() for leaf in named_leaves(state).values())


def detach(state: S) -> S:
    """Cut the state off from the steps that made it: same values, no gradient flows back through it."""
    return map_leaves(Tensor.detach, state)


def reset(state: S, mask: Tensor, fresh: S) -> S:
    """Replace the rows where `mask` is true by the rows of `fresh`.

    Args:
        state: carried state, B rows; not mutated.
        mask: (B,) bool.
        fresh: state of B rows, usually ``cell.zero_state(B)``.
    Raises: ShapeError if `mask` does not have one entry per row.
    Gradient: flows into `state` for kept rows and into `fresh` for replaced ones.
    """

    def choose(old: Tensor, new: Tensor) -> Tensor:
        if mask.shape != old.shape[:1]:
            raise ShapeError(f"the mask has shape {tuple(mask.shape)}, but the state has rows {tuple(old.shape[:1])}")
        return torch.where(mask.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return map_leaves(choose, state, fresh)


def select(state: S, rows: Tensor) -> S:
    """Gather rows by index, with repetition allowed, as beam search does.

    Args:
        rows: (K,) int64 indices into the batch axis.
    Gradient: flows into the selected rows.
    """
    return map_leaves(lambda leaf: leaf.index_select(0, rows.to(leaf.device)), state)


def fork(state: S) -> S:
    """Return an independent copy that shares no memory and no graph with `state`."""
    return map_leaves(lambda leaf: leaf.detach().clone(), state)


def save(state: Any, path: str | os.PathLike[str]) -> None:
    """Write the state to a safetensors file, replacing it in one step.

    Raises: StateError if the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = Path(path)
    scratch = target.with_name(target.name + ".tmp")
    leaves = {name or "state": leaf.detach().contiguous().cpu().clone() for name, leaf in named_leaves(state).items()}
    try:
        save_file(leaves, scratch)
        os.replace(scratch, target)
    except (OSError, SafetensorError) as error:
        scratch.unlink(missing_ok=True)
        raise StateError(f"cannot write a state to {target}: {error}") from error


def load(path: str | os.PathLike[str], like: S) -> S:
    """Read a state written by `save`, bit for bit. `like` gives its structure, e.g. ``cell.zero_state(1)``.

    Raises: StateError if the file does not exist, is damaged, or holds another kind of state.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        # a copy, as the file's own memory is less aligned, and alignment can decide the last bit of a product
        leaves = {name: leaf.clone() for name, leaf in load_file(os.fspath(path)).items()}
    except (OSError, SafetensorError) as error:
        raise StateError(f"cannot read a state from {os.fspath(path)}: {error}") from error
    if isinstance(like, Tensor):
        leaves = {"" if name == "state" else name: leaf for name, leaf in leaves.items()}
    return from_named(like, leaves)


def digest(state: Any) -> str:
    """Return the sha256 of names, types, shapes and bits of all leaves, in hexadecimal."""
    return digest_tensors(named_leaves(state))


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names, types, shapes and bits of tensors in the order in which they come, in hexadecimal."""
    sha = hashlib.sha256()
    for name, tensor in tensors.items():
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _describe(state: Any) -> str:
    return f"{type(state).__name__} of {len(state)}" if isinstance(state, tuple) else type(state).__name__
