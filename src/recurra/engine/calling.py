"""Calls of a native function on tensors: its table of pointers, its threads, its sums."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from recurra.engine.given import Given
from recurra.engine.llvm.compiler import Program

__all__ = ["Call"]

SMALL = 500_000  # multiply-adds of all rows and steps for which waking a second thread does not pay


class Call:
    """Calls of one native function on pieces of the same arrays."""

    def __init__(
        self,
        program: Program,
        dtype: torch.dtype,
        steps: int,
        rows: int,
        carries: list[Tensor],
        histories: frozenset[int],
        given: Given,
    ) -> None:
        layout, threads = program.layout, torch.get_num_threads()
        self.program, self.rows = program, rows
        if steps * rows * program.work < SMALL:
            threads = 1
        self.by_rows = program.by_rows_only or rows >= 8 * threads
        self.threads = min(threads, rows) if self.by_rows else threads
        lanes = (program.lanes, 1)
        self.arrays: dict[str, list[Tensor]] = {
            "packed": [torch.empty(size, dtype=dtype) for size in layout.packed],
            "scratch": [torch.empty(rows * width, dtype=dtype) for width in program.scratch],
            "row": [torch.empty(rows * width, dtype=dtype) for _ in range(program.reductions) for width in lanes],
            "sum": self._sums(dtype),
            "vector": [vector.contiguous() for vector in given.vectors],
            "weight": given.weights,
            "carry": carries,
        }
        self.histories = histories
        strides = [stride for weight in given.weights for stride in _strides(weight)]
        self.strides = (ctypes.c_int64 * max(1, len(strides)))(*strides)
        self.is_packed = False

    def run(
        self,
        first: int,
        last: int,
        streams: list[Tensor],
        emits: list[Tensor],
        fixed_streams: set[int] | frozenset[int] = frozenset(),
        fixed_emits: set[int] | frozenset[int] = frozenset(),
    ) -> None:
        """Run steps first..last. Fixed arrays hold these steps alone, the others all steps."""
        program, arrays = self.program, {**self.arrays, "stream": streams, "emit": emits}
        moving = {("carry", leaf) for leaf in self.histories} | {("emit", n) for n in range(len(emits))}
        moving |= {("stream", n) for n in range(len(streams))}
        moving -= {("stream", n) for n in fixed_streams} | {("emit", n) for n in fixed_emits}
        pointers = []
        for name in program.layout.names:
            array = arrays[name[0]][name[1]]
            place = array.data_ptr()
            # what all steps share, a fresh state, does not move
            if first and name in moving and array.numel() > self.rows * array.shape[-1]:
                place += first * self.rows * array.shape[-1] * array.element_size()
            pointers.append(place)
        table = (ctypes.c_void_p * len(pointers))(*pointers)
        flags = int(self.by_rows) | 2 * self.is_packed
        program.team.run(program.address, table, self.strides, last - first, self.rows, flags, self.threads)
        self.is_packed = True

    def _sums(self, dtype: torch.dtype) -> list[Tensor]:
        """Make room for the sums of every thread, side by side; return where each begins."""
        self.room = torch.zeros(self.threads, self.program.layout.sums_size, dtype=dtype)
        sizes = [blocks * padded for blocks, padded, _ in self.program.layout.sums]
        return list(self.room[0].split(sizes)) if sizes else []

    def sums(self) -> Tensor:
        """Return the sums over rows and steps, side by side."""
        total = self.room.sum(0) if self.threads > 1 else self.room[0]
        shapes = self.program.layout.sums
        if all(padded == size for _, padded, size in shapes):
            return total
        parts = total.split([blocks * padded for blocks, padded, _ in shapes])
        return torch.cat([p.view(b, n)[:, :size].flatten() for p, (b, n, size) in zip(parts, shapes, strict=True)])


def _strides(weight: Tensor) -> tuple[int, int, int]:
    *block, row, column = weight.stride()
    return row, column, block[0] if block else 0
