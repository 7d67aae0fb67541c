"""One step of a cell as the list of torch operations that it performs, found by watching it run."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.func import functionalize
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from recurra.engine.graphs.graph import CannotCompileError
from recurra.state import from_named, map_leaves, named_leaves

__all__ = ["Batch", "Call", "Recording", "Reference", "find_tensor", "record", "replay"]

SIZES = (2, 3)  # batch sizes to record at: what differs between them is the batch


class Reference(NamedTuple):
    """A tensor of the recording, by number."""

    number: int


class Batch(NamedTuple):
    """An integer that is `times` the batch size."""

    times: int


class Call(NamedTuple):
    """A torch operation: function, arguments with `Reference` and `Batch` in them, numbers of results, source line."""

    function: Any
    args: Any
    kwargs: Any
    outputs: tuple[int | None, ...]
    where: str

    @property
    def inputs(self) -> list[int]:
        """Numbers of the tensors that it reads."""
        leaves = pytree.tree_leaves((self.args, self.kwargs), is_leaf=_is_mark)
        return [leaf.number for leaf in leaves if isinstance(leaf, Reference)]


@dataclass
class Recording:
    """What one step does.

    Args:
        shapes: of every tensor, with -1 for the batch.
        inputs, state: numbers of the leaves of the input and of the state before the step.
        captured: number of each tensor that the step takes from elsewhere -> where the cell keeps it.
        dependent: numbers of the tensors that depend on the inputs or the state.
        derived: numbers of tensors that the engine makes from parameters, by what makes them.
        output, next_state: numbers of the results.
        numbers: values of captured tensors that are mere numbers written in the step.
    """

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    dtypes: list[torch.dtype] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    state: list[int] = field(default_factory=list)
    captured: dict[int, str] = field(default_factory=dict)
    numbers: dict[int, float] = field(default_factory=dict)
    dependent: set[int] = field(default_factory=set)
    derived: dict[str, int] = field(default_factory=dict)
    output: int = -1
    next_state: list[int] = field(default_factory=list)


def record(cell: Any, inputs: Any, supported: Mapping[Any, Any]) -> Recording:
    """Record ``cell.step`` for inputs like ``inputs``, a tree of (T, B, ...) tensors.

    The step runs twice, without gradients. In-place operations and writes into views come out as functions. What
    depends on parameters alone is recorded as it is, all else in terms of `supported` where torch knows how to do so.

    Raises: CannotCompileError if the step reads values in Python, draws random numbers, or treats rows unequally.
    """
    small, large = (_Recorder(cell, supported).run(inputs, size) for size in SIZES)
    return _merge(small, large)


def replay(calls: list[Call], known: dict[int, Tensor], rows: int) -> None:
    """Perform calls on the tensors in `known`, by number, for a batch of `rows`, and add their results to it."""

    def value(leaf: Any) -> Any:
        if isinstance(leaf, Reference):
            return known[leaf.number]
        return leaf.times * rows if isinstance(leaf, Batch) else leaf

    for call in calls:
        args, kwargs = pytree.tree_map(value, (call.args, call.kwargs), is_leaf=_is_mark)
        results = call.function(*args, **kwargs)
        results = results if isinstance(results, (tuple, list)) else (results,)
        known.update((n, result) for n, result in zip(call.outputs, results, strict=True) if n is not None)


def tensors_of(cell: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield (path, tensor) for all tensors that a cell keeps: parameters, buffers and plain attributes."""
    modules = cell.named_modules() if isinstance(cell, nn.Module) else [("", cell)]
    for prefix, module in modules:
        kept = {**vars(module), **vars(module).get("_buffers", {}), **vars(module).get("_parameters", {})}
        for name, tensor in kept.items():
            if isinstance(tensor, Tensor):
                yield (f"{prefix}.{name}" if prefix else name), tensor


def find_tensor(cell: Any, path: str) -> Tensor:
    """Return the tensor that a cell keeps under a path."""
    *modules, name = path.split(".")
    for module in modules:
        cell = cell._modules[module]
    for place in ("_parameters", "_buffers"):
        found = vars(cell).get(place, {}).get(name)
        if found is not None:
            return found  # type: ignore[no-any-return]
    return getattr(cell, name)  # type: ignore[no-any-return]


class _Recorder(TorchDispatchMode):
    def __init__(self, cell: Any, supported: Mapping[Any, Any]) -> None:
        super().__init__()
        self.cell = cell
        self.supported = supported
        self.recording = Recording()
        self.numbers: dict[int, int] = {}
        self.alive: list[Any] = []  # while recording: an id is only unique among living objects
        self.paths = {id(tensor): path for path, tensor in tensors_of(cell)}

    def run(self, inputs: Any, rows: int) -> Recording:
        x = map_leaves(lambda leaf: _sample(leaf, rows), inputs)
        state = self.cell.zero_state(rows)
        leaves = [*named_leaves(x).values(), *named_leaves(state).values()]
        leaves = [leaf.detach().clone() for leaf in leaves]
        count = len(named_leaves(x))
        names = ([*named_leaves(x)], [*named_leaves(state)])

        def step(*flat: Tensor) -> list[Tensor]:
            tree = [
                dict(zip(n, part, strict=True)) for n, part in zip(names, (flat[:count], flat[count:]), strict=True)
            ]
            output, after = self.cell.step(from_named(x, tree[0]), from_named(state, tree[1]))
            # results may be given tensors: clones have numbers of their own, and are taken for copies later
            return [output.clone(), *(leaf.clone() for leaf in named_leaves(after).values())]

        numbers = [self._number(leaf) for leaf in leaves]
        self.recording.inputs, self.recording.state = numbers[:count], numbers[count:]
        self.recording.dependent.update(numbers)
        try:
            with torch.no_grad(), self:
                results = functionalize(step, remove="mutations")(*leaves)
        except RuntimeError as error:
            if not any(words in str(error) for words in ("autograd.Function", "custom_function_call")):
                raise
            message = "the step calls a torch.autograd.Function, whose derivative a recording does not show"
            raise CannotCompileError(message) from error
        self.recording.output, *self.recording.next_state = (self.numbers[id(result)] for result in results)
        self.alive.clear()
        return self.recording

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, where = kwargs or {}, _source_line()
        self._refuse(function, args, where)
        if function is torch.ops.aten.lift_fresh.default and id(args[0]) not in self.numbers and args[0].ndim > 0:
            self._add_constant(args[0], where)
        if function is torch.ops.aten.copy.default:
            return self._copy(*args[:2])
        if function._schema.is_mutable:
            return self._write_anew(function, args, kwargs, where)
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        dependent = any(self.numbers.get(id(leaf)) in self.recording.dependent for leaf in given)
        if dependent and function not in self.supported:
            simpler = self._decompose(function, args, kwargs)
            if simpler is not NotImplemented:
                return simpler
        marked = pytree.tree_map(self._mark, (args, kwargs))
        results = function(*args, **kwargs)
        listed = results if isinstance(results, (tuple, list)) else (results,)
        outputs = tuple(self._number(r) if isinstance(r, Tensor) else None for r in listed)
        if dependent:
            self.recording.dependent.update(number for number in outputs if number is not None)
        self.recording.calls.append(Call(function, marked[0], marked[1], outputs, where))
        return results

    def _refuse(self, function: Any, args: Any, where: str) -> None:
        if function is torch.ops.aten._local_scalar_dense.default:
            raise CannotCompileError(f"the step reads a tensor's value in Python, at {where}")
        if torch.Tag.nondeterministic_seeded in function.tags:
            raise CannotCompileError(f"the step draws random numbers ({function}), at {where}; let them be inputs")
        if function._schema.is_mutable and id(args[0]) in self.paths:
            path = self.paths[id(args[0])]
            raise CannotCompileError(f"the step writes into '{path}' of the cell ({function}), at {where}")

    def _write_anew(self, function: Any, args: Any, kwargs: Any, where: str) -> Any:
        """Perform an in-place operation inside one of torch's as a function; its result takes the tensor's place."""
        name, _, overload = str(function).removeprefix("aten.").partition(".")
        anew = getattr(getattr(torch.ops.aten, name.removesuffix("_"), None), overload, None)
        if anew is None or not isinstance(args[0], Tensor):
            raise CannotCompileError(f"the engine does not know {function}, at {where}")
        with self:
            result = anew(*args, **kwargs)
        self.numbers[id(args[0])] = self.numbers[id(result)]
        return function(*args, **kwargs)

    def _copy(self, onto: Tensor, source: Tensor) -> Tensor:
        """Perform a copy by what has a derivative."""
        with self:
            if source.dtype != onto.dtype:
                source = torch.ops.aten._to_copy.default(source, dtype=onto.dtype)
            return torch.ops.aten.expand.default(source, onto.shape)  # type: ignore[no-any-return]

    def _decompose(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Perform an operation by others if torch knows how; return NotImplemented if it does not."""
        simpler = _decompositions().get(function, function.decompose)
        with self:
            return simpler(*args, **kwargs)

    def _add_constant(self, tensor: Tensor, where: str) -> None:
        """Record numbers that the step wrote as a tensor as a call that makes it."""
        made = {"dtype": tensor.dtype}
        self.recording.calls.append(Call(torch.tensor, (tensor.tolist(),), made, (self._number(tensor),), where))

    def _mark(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) not in self.numbers:
            number = self._number(leaf)
            if id(leaf) in self.paths:
                self.recording.captured[number] = self.paths[id(leaf)]
            elif leaf.ndim == 0 and leaf.device.type == "cpu":
                self.recording.numbers[number] = leaf.item()
            else:
                raise CannotCompileError(
                    f"the step uses a tensor {tuple(leaf.shape)} that the cell does not hold as a parameter, buffer or "
                    f"attribute, at {_source_line()}"
                )
        return Reference(self.numbers[id(leaf)])

    def _number(self, tensor: Tensor) -> int:
        if id(tensor) not in self.numbers:
            self.alive.append(tensor)
            self.numbers[id(tensor)] = len(self.recording.shapes)
            self.recording.shapes.append(tuple(tensor.shape))
            self.recording.dtypes.append(tensor.dtype)
        return self.numbers[id(tensor)]


@functools.cache
def _decompositions() -> Mapping[Any, Any]:
    return dict(core_aten_decompositions().items())


def _sample(leaf: Tensor, rows: int) -> Tensor:
    shape = (rows, *leaf.shape[2:])
    if leaf.is_floating_point():
        return torch.linspace(-1, 1, max(1, torch.Size(shape).numel()), dtype=leaf.dtype, device=leaf.device).view(
            shape
        )
    return torch.zeros(shape, dtype=leaf.dtype, device=leaf.device)


def _source_line() -> str:
    """Return file:line of the innermost frame that is neither torch's nor the engine's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.partition(".")[0] != "torch" and name != __name__:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"


def _is_mark(leaf: Any) -> bool:
    return isinstance(leaf, (Reference, Batch))


def _merge(small: Recording, large: Recording) -> Recording:
    """Return a recording for any batch size, from those at two."""
    alike = [call.function for call in small.calls] == [call.function for call in large.calls]
    if not alike or small.captured != large.captured or small.numbers != large.numbers:
        raise CannotCompileError("the step does other things for another number of rows")
    calls = [
        a._replace(
            **dict(zip(("args", "kwargs"), _merge_values((a.args, a.kwargs), (b.args, b.kwargs), a), strict=True))
        )
        for a, b in zip(small.calls, large.calls, strict=True)
    ]
    small.calls = calls
    small.shapes = [_merge_shape(a, b) for a, b in zip(small.shapes, large.shapes, strict=True)]
    return small


def _merge_values(a: Any, b: Any, call: Call) -> Any:
    if isinstance(a, (tuple, list)) and not _is_mark(a):
        if len(a) != len(b):
            raise CannotCompileError(f"{call.function} does other things for another number of rows, at {call.where}")
        return type(a)(_merge_values(i, j, call) for i, j in zip(a, b, strict=True))
    if isinstance(a, dict):
        return {key: _merge_values(a[key], b[key], call) for key in a}
    if a == b or (a != a and b != b):  # NaN differs from itself
        return a
    if isinstance(a, int) and isinstance(b, int) and a * SIZES[1] == b * SIZES[0]:
        return Batch(a // SIZES[0])
    raise CannotCompileError(f"{call.function} depends on the number of rows ({a}, then {b}), at {call.where}")


def _merge_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    # a size that is a multiple of the batch other than itself is kept as it is, negative: nothing lowers it
    return tuple(
        i if i == j else -(i // SIZES[0]) if i * SIZES[1] == j * SIZES[0] else -(10**6)
        for i, j in zip(a, b, strict=True)
    )
