"""Scans in the graphs of `torch.compile` and `torch.export`.

A tracer sees tensors without numbers, under modes that record all that is done to them. A cell cannot be recorded
there: its plan is found for a stand-in with numbers, in a thread of its own, which no mode reaches. What stands before
and after the loop is traced as it is, the loop as one operation.

Dynamo, which reads Python instead of running it, meets three things here: tensors of the cell, collected by code that
it reads; `_find_token`, whose result it takes for a constant; and `_run_token`, a call that it puts into the graph
unread.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from recurra.engine.aside import aside
from recurra.engine.capture.recording import tensors_of
from recurra.engine.compiled import Plan, run_plan
from recurra.engine.loop import run_loop
from recurra.engine.operator import PLAIN, is_exporting
from recurra.engine.plans import find_plan
from recurra.state import from_named, map_leaves, named_leaves

__all__ = ["find_plan_aside", "find_runner"]

Kind = tuple[str, tuple[int, ...], torch.dtype, bool]  # path, shape, type, and is a gradient wanted?

_PLAIN = (bool, int, float, str)
_MACHINERY = frozenset(vars(nn.Module())) - {"training", "_modules"} | {"_origin"}


def find_plan_aside(cell: Any, inputs: Any, state: Any, *, trains: bool) -> Plan | str:
    """Return the plan for a cell and inputs that are being traced, or why there is none."""

    def find() -> Plan | str:
        stand_in = _cell_with(cell, lambda _, tensor: _stand_in(tensor))
        x = map_leaves(lambda leaf: _random((1, 1, *map(int, leaf.shape[2:])), leaf.dtype, False), inputs)
        return find_plan(stand_in, x, stand_in.zero_state(1), trains=trains)

    return aside(find)  # type: ignore[no-any-return]


def _stand_in(tensor: Tensor) -> Tensor:
    sizes = [int(size) for size in tensor.shape]
    return _random(sizes, tensor.dtype, tensor.requires_grad)


def _random(shape: Iterable[int], dtype: torch.dtype, requires_grad: bool) -> Tensor:
    if not dtype.is_floating_point:
        return torch.zeros(*shape, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    return torch.rand(*shape, dtype=dtype, generator=generator).sub_(0.5).requires_grad_(requires_grad)


def _cell_with(cell: Any, choose: Callable[[str, Tensor], Tensor | None]) -> Any:
    """Return a copy of a cell, its modules copied and each of its tensors replaced by ``choose(path, tensor)``."""
    copies: dict[int, Any] = {}

    def visit(thing: Any, prefix: str) -> Any:
        if id(thing) in copies:
            return copies[id(thing)]
        view = copies[id(thing)] = copy.copy(thing)
        fields = vars(view)
        for name, value in list(fields.items()):
            if isinstance(value, Tensor):
                fields[name] = choose(prefix + name, value)
        for group in ("_parameters", "_buffers"):
            if isinstance(thing, nn.Module):
                tensors = fields[group].items()
                fields[group] = {n: t if t is None else choose(prefix + n, t) for n, t in tensors}
        if isinstance(thing, nn.Module):
            modules = fields["_modules"].items()
            fields["_modules"] = {n: m if m is None else visit(m, f"{prefix}{n}.") for n, m in modules}
        return view

    return visit(cell, "")


# In a graph of dynamo's


class _Known(NamedTuple):
    """A plan, a cell of its kind without tensors, and trees of its input and state."""

    plan: Plan
    cell: Any
    paths: tuple[str, ...]
    inputs: Any
    state: Any


_known: dict[str, _Known] = {}  # as long as this process: a graph of dynamo's knows its tokens only


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _find_token(
    cell: Any,
    kinds: list[Kind],
    scalars: list[Any],
    inputs: tuple[Any, list[tuple[tuple[int, ...], torch.dtype]]],
    state: tuple[Any, list[torch.dtype]],
    trains: bool,
) -> tuple[str | None, str]:
    """Return (token of a plan, "") or (None, why there is none) for a cell, where its tensors are as `kinds` say."""
    by_path = {path: (shape, dtype, requires_grad) for path, shape, dtype, requires_grad in kinds}
    if repr(scalars) != repr(_scalars(cell, 0)):
        return None, "the cell was changed in the function that is compiled"

    def choose(path: str, tensor: Tensor) -> Tensor | None:
        if path not in by_path:
            return None
        is_same = (tuple(tensor.shape), tensor.dtype, tensor.requires_grad) == by_path[path]
        return tensor if is_same and type(tensor) in PLAIN and tensor.device.type == "cpu" else _random(*by_path[path])

    def make() -> tuple[str | None, str]:
        stand_in = _cell_with(cell, choose)
        x = _rebuild(inputs[0], iter([_random((1, 1, *shape), dtype, False) for shape, dtype in inputs[1]]))
        plan = find_plan(stand_in, x, stand_in.zero_state(1), trains=trains)
        if isinstance(plan, str):
            return None, plan
        if set(state[1]) != {plan.dtype}:
            return None, f"the step carries {plan.dtype}, and the given state holds another type"
        token = uuid.uuid4().hex  # never the same in two processes: graphs may be cached
        without_tensors = _cell_with(stand_in, lambda path, tensor: torch.empty(0))
        paths = tuple(path for path, *_ in kinds)
        _known[token] = _Known(plan, without_tensors, paths, inputs[0], state[0])
        return token, ""

    return aside(make)  # type: ignore[no-any-return]


@torch.compiler.allow_in_graph  # type: ignore[untyped-decorator]
def _run_token(token: str, has: tuple[bool, ...], tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """Run a plan on leaves of the input and the state, tensors of the cell, masks; return output and final state."""
    plan, cell, paths, *trees = _known[token]
    rest = iter(tensors)
    inputs, state = (_rebuild(tree, rest) for tree in trees)
    kept = {path: next(rest) for path in paths}
    masks = [next(rest) if is_there else None for is_there in has]
    # torch.func knows no derivative of the operation's, but those of all that the loop does
    run = partial(run_plan, plan) if torch._C._functorch.peek_interpreter_stack() is None else run_loop
    output, final = run(_cell_with(cell, lambda path, _: kept[path]), inputs, state, *masks)
    return output, *named_leaves(final).values()


def find_runner(cell: Any, inputs: Any, state: Any) -> Callable[..., tuple[Tensor, Any]] | str:
    """Return a function such as `run_loop` for the graph that dynamo makes, or why there is none. Dynamo reads this."""
    origin = getattr(cell, "_origin", cell)  # a view that was made in the graph has no object behind it
    kept = list(tensors_of(cell))
    tensors = [tensor for _, tensor in kept]
    token, reason = _find_token(
        origin,
        [(path, _sizes(tensor.shape), tensor.dtype, tensor.requires_grad) for path, tensor in kept],
        _scalars(cell, 0),
        (_structure(inputs), [(_sizes(leaf.shape[2:]), leaf.dtype) for leaf in named_leaves(inputs).values()]),
        (_structure(state), [leaf.dtype for leaf in named_leaves(state).values()]),
        torch.is_grad_enabled(),
    )
    if token is None:
        return str(reason)
    if not is_exporting():
        cell.step(map_leaves(lambda leaf: leaf[0], inputs), state)  # for dynamo's guards; nobody reads it

    def run(cell: Any, inputs: Any, state: Any, *masks: Tensor | None) -> tuple[Tensor, Any]:
        given = [*named_leaves(inputs).values(), *named_leaves(state).values()]
        there = tuple([mask is not None for mask in masks])
        output, *after = _run_token(token, there, [*given, *tensors, *[mask for mask in masks if mask is not None]])
        return output, from_named(state, dict(zip(named_leaves(state), after, strict=True)))

    return run


def _sizes(shape: Iterable[int]) -> tuple[int, ...]:
    return tuple([_constant(size) for size in shape])


def _constant(number: Any) -> Any:
    """Return the number as one that dynamo takes for a constant, as it does with keys, and not for a variable."""
    (constant,) = {number: None}
    return constant


def _scalars(thing: Any, depth: int) -> list[Any]:
    """Return what is neither a tensor nor an object in a cell: what its `signature` holds by value."""
    if isinstance(thing, _PLAIN):
        return [_constant(thing)]
    if isinstance(thing, (FunctionType, BuiltinFunctionType)):
        return [thing]
    if depth == 0 or isinstance(thing, nn.Module):
        fields = [value for name, value in vars(thing).items() if name not in _MACHINERY]
    elif isinstance(thing, (tuple, list)):
        fields = list(thing)
    else:
        fields = list(thing.values()) if isinstance(thing, dict) else []
    return [scalar for field in fields for scalar in _scalars(field, depth + 1)] if depth < 8 else []


def _structure(tree: Any) -> Any:
    return None if isinstance(tree, Tensor) else (type(tree), *[_structure(branch) for branch in tree])


def _rebuild(structure: Any, leaves: Any) -> Any:
    if structure is None:
        return next(leaves)
    kind, *branches = structure
    rebuilt = [_rebuild(branch, leaves) for branch in branches]
    return kind(*rebuilt) if hasattr(kind, "_fields") else tuple(rebuilt)
