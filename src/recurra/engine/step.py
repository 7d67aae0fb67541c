"""A step, or a few, as one native call: for streams and generation, where a call takes microseconds.

Nothing is done before or after the loop, and matrices are read where they are, so a changed weight is noticed without
looking. What a call needs is prepared once per shape in a `Space`: the words that `recurra.engine.llvm.entry` reads,
and memory to compute in. A space serves one call at a time; as many are made as there are calls at once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recurra.engine.capture.aten import LOWERINGS
from recurra.engine.capture.lowering import Split, split
from recurra.engine.capture.recording import find_tensor, record, replay
from recurra.engine.graphs.graph import CannotCompileError
from recurra.engine.llvm import entry
from recurra.engine.llvm.compiler import Program, compile_graph
from recurra.engine.placing import Placed, place
from recurra.engine.quantised import Quantised
from recurra.state import named_leaves

__all__ = ["CLOSE", "CompiledStep", "Leaf", "Space", "compile_step", "is_plain", "special_mode"]

DTYPES = {torch.float32: "float32", torch.float64: "float64"}
BYTES_PER_THREAD = 400_000  # of weights; for less, a second thread costs more than it brings
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-9}
Leaf = tuple[int, int]
"""Where a leaf of the state comes from and goes to: the number of a tensor, and the first of its bytes."""


_transforms = torch._C._functorch.peek_interpreter_stack
_dispatch_modes = torch._C._len_torch_dispatch_stack
_autocasts = torch._C._is_any_autocast_enabled


def special_mode() -> bool:
    """Does torch do more than to compute just now: transform, watch, cast?"""
    return bool(_dispatch_modes() or _autocasts() or _transforms() is not None)


def is_plain(tensor: Any, dtype: torch.dtype | None) -> bool:
    """Is something a tensor of this type in memory, and no subclass?"""
    return type(tensor) is Tensor and tensor.dtype is dtype and tensor.is_cpu


@dataclass
class CompiledStep:
    """The step of a kind of cell as a native function.

    Args:
        paths: where the cell keeps each tensor that the step takes from it.
        threads: as many as are worth it.
        placed: matrices in few bytes, by number; they are read instead of the cell's.
        needed: where the cell keeps those that have few bytes, and are needed in float32 all the same.
    """

    split: Split
    program: Program
    dtype: torch.dtype
    paths: list[str]
    threads: int
    placed: dict[int, Placed] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)

    @property
    def widths(self) -> list[int]:
        """Numbers per row of each leaf of the state."""
        return self.split.inside.carries


class Space:
    """What a call of a step over (T, B, I) needs. Its words are set, then `entry.enter` is called with its address.

    Args:
        leaves: of the state, in order.
        num_bases: number of tensors that these come from.
    """

    def __init__(self, step: CompiledStep, steps: int, rows: int, leaves: list[Leaf], num_bases: int) -> None:
        self.step = step
        layout, dtype, size = step.program.layout, step.dtype, step.dtype.itemsize
        self.sources = entry.BASES + 1
        """Word of the first address that states come from (0: zeros); those of where they go follow."""
        first_leaf = self.sources + 2 * num_bases
        table = first_leaf + entry.LEAF_WORDS * len(leaves)
        self.words = words = (ctypes.c_int64 * (table + len(layout.names)))()
        self.address = ctypes.addressof(words)
        self.places = {name: table + n for n, name in enumerate(layout.names)}
        self.inputs = self.places["stream", 0]
        self.outputs = self.places["emit", 0]
        self.strides = (ctypes.c_int64 * max(1, 3 * len(step.split.weights)))()
        self.pointers: list[int] = []
        """Of the tensors that the words refer to."""
        self.stays = False
        """Do they do so as long as the tensors stay where they are, or for one call only?"""
        widths = {"carry": [2 * rows * width for width in step.widths]}
        widths["scratch"] = [rows * width for width in step.program.scratch]
        widths["row"] = [rows * w for _ in range(step.program.reductions) for w in (step.program.lanes, 1)]
        self.memory = {kind: [torch.empty(n, dtype=dtype) for n in counts] for kind, counts in widths.items()}
        for kind, arrays in self.memory.items():
            for number, array in enumerate(arrays):
                words[self.places[kind, number]] = array.data_ptr()
        words[entry.FUNCTION] = step.program.address
        words[entry.TABLE] = self.address + 8 * table
        words[entry.STRIDES] = ctypes.addressof(self.strides)
        words[entry.STEPS], words[entry.ROWS], words[entry.THREADS] = steps, rows, 1
        words[entry.NUM_LEAVES], words[entry.BASES] = len(leaves), first_leaf
        for n, (base, offset) in enumerate(leaves):
            place = words[self.places["carry", n]]
            source = self.sources + base
            fields: list[Any] = [place, rows * step.widths[n] * size, source, source + num_bases, offset]
            at = first_leaf + entry.LEAF_WORDS * n
            words[at : at + entry.LEAF_WORDS] = fields

    def bind(self, tensors: list[Tensor]) -> bool:
        """Refer to these tensors, in the order of `CompiledStep.paths`, from now on.

        Returns: whether that holds as long as they stay where they are; otherwise for the next call only.
        Raises: CannotCompileError for matrices that are laid out in another way than the step reads.
        """
        step = self.step
        known = _prepare(step.split, step.dtype, tensors)
        vectors = [_vector(known[number], shape) for number, shape in step.split.vectors]
        small = {n: matrix.values for n, matrix in step.placed.items()}
        weights = [small.get(n, known[number]) for n, number in enumerate(step.split.weights)]
        own = [weight for n, weight in enumerate(weights) if n not in small]
        if any(t.dtype != step.dtype or t.device.type != "cpu" for t in (*vectors, *own)):
            raise CannotCompileError("the step's tensors are of another type than its state, or on another device")
        if any(weight.stride(-2) != 1 and weight.shape[-2] > 1 for weight in weights):
            raise CannotCompileError("a matrix does not hold its inputs side by side")
        self.held = (vectors, weights)
        for n, matrix in step.placed.items():
            if matrix.scales is not None:
                self.words[self.places["scale", n]] = matrix.scales.data_ptr()
        for kind, found in (("vector", vectors), ("weight", weights)):
            for number, tensor in enumerate(found):
                self.words[self.places[kind, number]] = tensor.data_ptr()
        for number, weight in enumerate(weights):
            block = weight.stride(0) if weight.ndim == 3 else 0
            self.strides[3 * number : 3 * number + 3] = [weight.stride(-2), weight.stride(-1), block]
        given = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        return all(tensor.untyped_storage().data_ptr() in given for tensor in (*vectors, *own))


def compile_step(cell: Any, inputs: Tensor, state: Any, small: Mapping[str, Quantised] | None = None) -> CompiledStep:
    """Compile a cell's step for inputs (T, B, I) and a state like these, and try it against the step itself.

    Args:
        small: weights in few bytes, by where the cell keeps the same ones in float32.
    Raises: CannotCompileError with the reason if it cannot be, or gives other results.
    """
    leaves = list(named_leaves(state).values())
    kinds = {leaf.dtype for leaf in (inputs, *leaves)}
    if len(kinds) != 1 or not kinds <= set(DTYPES) or any(leaf.device.type != "cpu" for leaf in (inputs, *leaves)):
        raise CannotCompileError("a step is compiled for float32 or float64 on a CPU")
    dtype = kinds.pop()
    with torch.inference_mode(False), torch.no_grad():
        parts = split(record(cell, inputs, LOWERINGS), hoist=False)
        if len(parts.streams) != 1 or parts.streams[0].number not in parts.recording.inputs or parts.output is not None:
            raise CannotCompileError("the step has other inputs than one tensor")
        paths = list(parts.recording.captured.values())
        placed: dict[int, Placed] = {}
        needed: set[str] = set()
        if small and dtype == torch.float32:
            known = _prepare(parts, dtype, [find_tensor(cell, path) for path in paths])
            placed, needed = place(parts, known, small)
        matrices = range(len(parts.inside.weights))
        stored = tuple(placed[n].kind if n in placed else DTYPES[dtype] for n in matrices) if placed else ()
        program = compile_graph(parts.inside, DTYPES[dtype], direct=True, stored=stored)
    sizes = [placed[n].values.itemsize if n in placed else dtype.itemsize for n in matrices]
    size = sum(w.rows * w.columns * w.blocks * s for w, s in zip(parts.inside.weights, sizes, strict=True))
    threads = 1 if program.by_rows_only or not entry.has_threads() else max(1, size // BYTES_PER_THREAD)
    return CompiledStep(parts, program, dtype, paths, threads, placed, needed)


def _prepare(split: Split, dtype: torch.dtype, tensors: list[Tensor]) -> dict[int, Tensor]:
    recording = split.recording
    known = dict(zip(recording.captured, (tensor.detach() for tensor in tensors), strict=True))
    known.update((n, torch.tensor(value, dtype=dtype)) for n, value in recording.numbers.items())
    replay(split.before, known, 1)
    return known


def _vector(tensor: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    if not shape:
        return tensor.reshape(-1)
    return tensor.reshape([size for size in tensor.shape if size != 1]).expand(shape).reshape(-1).contiguous()
