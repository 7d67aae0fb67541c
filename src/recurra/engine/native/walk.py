"""A loop within a script: where its arrays are, and how it goes through time piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from recurra.engine.graphs.graph import Graph
from recurra.engine.llvm.compiler import Program
from recurra.engine.native.script import At, ScriptWriter, Strides

__all__ = ["Walk", "choose_threads", "pieces"]

PIECE_BYTES = 3 << 18  # of streams and gradients at a time: what a core's second cache holds beside the weights
LEAST_ROWS = 256  # of a core's share in a product, for it to be as fast as a large one
MATRICES_BYTES = (
    3 << 19
)  # of the loop's matrices that a core keeps in its second cache; of larger ones, each keeps a part
SMALL = 500_000  # multiply-adds of all rows and steps for which waking a second thread does not pay


def choose_threads(
    program: Program, steps: int, rows: int, graph: Graph, depths: Mapping[int, int]
) -> tuple[int, bool]:
    """Return how many threads run a loop and its products, and whether they share the rows, or else the channels."""
    threads = torch.get_num_threads()
    work = program.work + sum(depth * graph.streams[n].width for n, depth in depths.items())
    if steps * rows * work < SMALL:
        threads = 1
    matrices = 4 * sum(program.layout.packed)
    by_rows = program.by_rows_only or (rows >= 8 * threads and matrices <= MATRICES_BYTES)
    return (min(threads, rows) if by_rows else threads), by_rows


def pieces(
    steps: int, rows: int, widths: Sequence[int], threads: int, from_end: bool = False
) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of pieces of time, the longest first; all but one are of an even number of steps.

    Args:
        widths: of the arrays that pass between loop and products.
    """
    if not widths:
        yield 0, steps
        return
    at_once = threads * max(LEAST_ROWS, PIECE_BYTES // (4 * max(1, sum(widths))))
    size = max(2, 2 * -(-at_once // (2 * rows)))
    size = max(2, 2 * -(-steps // (2 * max(1, round(steps / size)))))  # pieces as equal as can be
    if from_end:
        yield from ((max(0, last - size), last) for last in range(steps, 0, -size))
    else:
        yield from ((first, min(steps, first + size)) for first in range(0, steps, size))


class Walk:
    """The arrays of a loop, and runs of it.

    Args:
        strides: of the matrices that it multiplies with.
    """

    def __init__(
        self, script: ScriptWriter, program: Program, steps: int, rows: int, strides: Sequence[Strides]
    ) -> None:
        self.script, self.program, self.rows = script, program, rows
        self._strides = strides
        layout = program.layout
        self.places: dict[tuple[str, int], At] = {}
        self._moves: dict[tuple[str, int], int] = {}  # bytes a step
        self._carry_bytes: dict[int, int] = {}
        self._is_packed = False
        reserved = {
            "packed": layout.packed,
            "scratch": [rows * width for width in program.scratch],
            "row": [rows * width for _ in range(program.reductions) for width in (program.lanes, 1)],
        }
        for kind, sizes in reserved.items():
            self.places |= {(kind, n): script.reserve(size) for n, size in enumerate(sizes)}
        self.sums = script.reserve(script.threads * layout.sums_size)
        offset = 0
        for n, (blocks, padded, _) in enumerate(layout.sums):
            self.places["sum", n] = self.sums.plus(offset * script.size)
            offset += blocks * padded
        if layout.sums_size:
            script.clear(self.sums, layout.sums_size)
        for kind, number in layout.names:
            if kind in ("vector", "weight"):
                self.places[kind, number] = script.base((kind, number))

    def array(self, kind: str, number: int, at: At, width: int) -> None:
        """Say where a stream or an emit is; its width per row if every step has its own, else 0."""
        self.places[kind, number] = at
        self._moves[kind, number] = width * self.rows * self.script.size

    def carry(self, leaf: int, width: int, history: At | None = None) -> None:
        """Say where all steps of a leaf of the state are; without such a place, the last two are kept."""
        size = self.rows * width
        self.places["carry", leaf] = self.script.reserve(2 * size) if history is None else history
        self._carry_bytes[leaf] = size * self.script.size
        self._moves["carry", leaf] = 0 if history is None else size * self.script.size

    def carried(self, leaf: int, steps: int) -> At:
        """Return where a leaf of the state is after so many steps."""
        slot = steps if self._moves["carry", leaf] else steps % 2
        return self.places["carry", leaf].plus(slot * self._carry_bytes[leaf])

    def run(self, first: int, last: int) -> None:
        """Run steps first..last; before this, threads that share channels meet, and after it."""
        script = self.script
        if not script.by_rows:
            script.wait()
        table = [self.places[name].plus(first * self._moves.get(name, 0)) for name in self.program.layout.names]
        script.loop(self.program, table, self._strides, last - first, self.rows, packed=self._is_packed)
        self._is_packed = True
        if not script.by_rows:
            script.wait()
