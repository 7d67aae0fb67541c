"""Lists of native commands for a shape: written once, and run with the addresses of each call.

A script holds what `recurra.engine.llvm.commands` reads: commands, and the tables of pointers of loops. An address in
it is a base that each call gives, and a distance from it in bytes. What a call needs on the way is one piece of memory,
the arena, in which the script has reserved places.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recurra.engine.llvm.commands import ARGUMENTS, WORDS, Runner, runner
from recurra.engine.llvm.compiler import Program
from recurra.engine.llvm.team import team
from recurra.engine.native.workspace import Loan

__all__ = ["At", "Matrix", "Rows", "Script", "ScriptWriter", "Strides"]

ALIGNED = 64  # bytes: a line of the cache
MULTIPLY_ADDS = 5 * 10**9  # of one native call, about 50 ms a core: between two, Python listens to Ctrl-C
CODES = {name: code for code, name in enumerate(ARGUMENTS)}

Strides = tuple[int, int, int]
"""Of a matrix: from row to row, from column to column, from block to block."""


class At(NamedTuple):
    """An address: the number of a base, and bytes from there."""

    base: int
    offset: int = 0

    def plus(self, distance: int) -> At:
        """Return the address so many bytes further on."""
        return At(self.base, self.offset + distance)


class Matrix(NamedTuple):
    """A matrix in memory: element (r, c) is ``r row + c column`` numbers from `at`."""

    at: At
    row: int
    column: int

    @property
    def transposed(self) -> Matrix:
        """The same memory, read the other way."""
        return Matrix(self.at, self.column, self.row)


class Rows(NamedTuple):
    """Rows of a batch of which each thread takes its own.

    Args:
        steps: how many steps of the batch.
        packed_step, goal_step: how many numbers the packed matrices and the results of two threads are apart.
    """

    steps: int
    packed_step: int = 0
    goal_step: int = 0


class Script:
    """Commands with open addresses, ready to run.

    Args:
        runner: what carries them out.
        words: commands and tables, with 0 where an address is open; `open_` says which belongs there.
        parts: first and count of the commands of each native call.
        names: of the arrays that a call gives.
        reserved: numbers in the arena.
    """

    def __init__(
        self,
        runner: Runner,
        dtype: torch.dtype,
        threads: int,
        words: list[int],
        open_: dict[int, At],
        parts: list[tuple[int, int]],
        names: list[Hashable],
        reserved: int,
    ) -> None:
        self.parts = parts
        self._runner, self._dtype, self._threads, self._reserved = runner, dtype, threads, reserved
        self._names = names
        self._template = np.array(words, dtype=np.int64)
        self._positions = np.array(list(open_), dtype=np.intp)
        self._bases = np.array([at.base for at in open_.values()], dtype=np.intp)
        self._offsets = np.array([at.offset for at in open_.values()], dtype=np.int64)

    def run(self, arrays: Mapping[Hashable, Tensor]) -> None:
        """Run the script on these arrays, by the names that it was written with."""
        arena = Loan(self._reserved, dtype=self._dtype)
        words = self._template.copy()
        start: int = words.__array_interface__["data"][0]
        given = [arrays[name].data_ptr() for name in self._names]
        bases = np.array([start, arena.tensor.data_ptr(), *given], dtype=np.int64)
        words[self._positions] = bases[self._bases] + self._offsets
        workers = team()
        for first, count in self.parts:
            workers.run(self._runner.address, start + 8 * WORDS * first, 0, count, 0, 0, self._threads)


class ScriptWriter:
    """Commands in the making.

    Args:
        threads: that go through them.
        by_rows: do they share the rows of the batch, or else the channels?
    """

    def __init__(self, dtype: torch.dtype, threads: int, by_rows: bool) -> None:
        self.threads, self.by_rows = threads, by_rows
        self.size = dtype.itemsize
        self._dtype = dtype
        self._runner = runner(str(dtype).removeprefix("torch."))
        self._bases: dict[Hashable, int] = {}
        self._reserved = 0
        self._commands: list[list[int | At]] = []
        self._tables: list[list[int | At]] = []
        self._table_of: dict[int, int] = {}  # of a loop's command: its table of pointers; the strides follow it
        self._cuts, self._work = [0], 0
        self._room: At | None = None

    def base(self, name: Hashable) -> At:
        """Return the address that calls give under a name."""
        return At(2 + self._bases.setdefault(name, len(self._bases)))

    def reserve(self, count: int) -> At:
        """Return a place in the arena for so many numbers."""
        place = At(1, self._reserved)
        self._reserved += -(-count * self.size // ALIGNED) * ALIGNED
        return place

    def wait(self) -> None:
        """Let all threads finish what comes before."""
        if self.threads > 1:
            self._command("wait", [])

    def copy(self, goal: At, source: At | None, rows: int, width: int) -> None:
        """Copy (rows, width), or fill with zeros: each thread its own rows."""
        self._command("copy", [goal, source or 0, rows, width * self.size])

    def clear(self, goal: At, count: int) -> None:
        """Set so many numbers for each thread, side by side, to zero: each thread its own."""
        self._command("clear", [goal, count * self.size])

    def total(self, goal: At, parts: At, count: int) -> None:
        """Sum up what each thread has, so many numbers side by side."""
        self._command("total", [goal, parts, count])

    def loop(
        self, program: Program, table: Sequence[At], strides: Sequence[Strides], steps: int, rows: int, packed: bool
    ) -> None:
        """Run a loop on arrays at the addresses of its layout.

        Args:
            packed: has an earlier loop packed its matrices?
        """
        self._table_of[len(self._commands)] = len(self._tables)
        self._tables += [list(table), [number for three in strides for number in three]]
        flags = int(self.by_rows) | 2 * packed
        self._command("loop", [program.address, 0, 0, steps, rows, flags, 0])
        self._work += steps * rows * program.work

    def packed_size(self, depth: int, columns: int) -> int:
        """Return how many numbers a packed matrix (depth, columns) takes up."""
        return -(-columns // self._runner.panel) * self._runner.panel * depth

    def pack(
        self, matrix: Matrix, depth: int, columns: int, place: At | None = None, *, rows: Rows | None = None
    ) -> At:
        """Pack a matrix (depth, columns) for `multiply`; return where.

        Args:
            rows: if given, its rows are those of a batch, and each thread packs its own, a part of `place` for each.
                Otherwise all pack one matrix, and must meet before it is used.
        """
        size = self.packed_size(depth, columns)
        place = place or self.reserve(size)
        groups, group = (rows.steps, depth // rows.steps) if rows else (1, depth)
        step = rows.packed_step if rows else 0
        where: list[int | At] = [matrix.at, group * matrix.row, matrix.row, matrix.column]
        self._command("pack", [*where, groups, group, columns, place, step, int(rows is not None)])
        return place

    def multiply(
        self,
        left: Matrix,
        packed: At,
        goal: Matrix,
        sizes: tuple[int, int, int],
        *,
        adds: bool = False,
        steps: int = 1,
        rows: Rows | None = None,
    ) -> None:
        """Compute goal = left @ packed, or add it.

        Args:
            sizes: M, K, N.
            steps: of a batch, one after another in M; threads that share the batch then do their own rows.
            rows: if given, K is the rows of a batch, and each thread does its own, with a result of its own.
        """
        m, k, n = sizes
        groups = steps if self.by_rows else 1
        group = m // groups
        k_groups, k_group = (rows.steps, k // rows.steps) if rows else (1, k)
        assert goal.column == 1
        assert left.row == 1 or (left.column == 1 and rows is None)
        assert groups == 1 or left.column == 1
        self._room = self._room or self.reserve(self.threads * self._runner.room)
        split = 2 if rows else int(groups == 1)
        lefts: list[int | At] = [left.at, group * left.row, left.row, k_group * left.column, left.column]
        goals: list[int | At] = [goal.at, group * goal.row, goal.row, rows.goal_step if rows else 0]
        rest: list[int | At] = [groups, group, k_groups, k_group, n, int(adds), split, self._room, self._runner.room]
        self._command("multiply", [*lefts, packed, rows.packed_step if rows else 0, *goals, *rest])
        self._work += m * k * n

    def pause(self) -> None:
        """Say that Python may listen here: before what follows, all threads meet."""
        if self._work > MULTIPLY_ADDS:
            self._cuts.append(len(self._commands))
            self._work = 0

    def _command(self, name: str, arguments: Sequence[int | At]) -> None:
        assert len(arguments) == len(ARGUMENTS[name])
        self._commands.append([CODES[name], *arguments, *[0] * (WORDS - 1 - len(arguments))])

    def finish(self) -> Script:
        """Put everything in its place."""
        start, places = WORDS * len(self._commands), []
        for table in self._tables:
            places.append(At(0, 8 * start))
            start += len(table)
        for command, number in self._table_of.items():
            self._commands[command][2:4] = places[number : number + 2]
        words = [word for part in (*self._commands, *self._tables) for word in part]
        open_ = {place: word for place, word in enumerate(words) if isinstance(word, At)}
        closed = [0 if isinstance(word, At) else word for word in words]
        parts = [(a, b - a) for a, b in pairwise([*self._cuts, len(self._commands)])]
        reserved = self._reserved // self.size
        return Script(self._runner, self._dtype, self.threads, closed, open_, parts, list(self._bases), reserved)
