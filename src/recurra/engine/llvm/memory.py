"""Where the numbers of a step are: panels of channels, and arrays that move with time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from recurra.engine.graphs.graph import Graph, Node
from recurra.engine.llvm.frame import Frame, i, i32
from recurra.engine.llvm.schedule import MAX_GATES, Group, Home, ProductSet, Schedule
from recurra.engine.llvm.target import Target

__all__ = ["Memory"]


class Memory(Frame):
    """A function over the arrays of a schedule; arguments as `recurra.engine.llvm.emitter.Emitter`."""

    B: Any
    t: Any
    step: Any
    pointers: dict[tuple[str, int], Any]

    def __init__(
        self, schedule: Schedule, dtype: str, target: Target, *, backward: bool, histories: frozenset[int]
    ) -> None:
        super().__init__(dtype, target)
        self.schedule = schedule
        self.graph: Graph = schedule.graph
        self.backward = backward
        self.histories = histories
        self.sets: list[tuple[Group, ProductSet]] = [
            (group, products) for stage in schedule.stages for group in stage for products in group.sets
        ]

    def _inner_panels(self, group: Group) -> int:
        """Panels of each block."""
        return -(-(group.channels // group.blocks) // self.lanes)

    def _panels(self, group: Group) -> int:
        return group.blocks * self._inner_panels(group)

    def _tile(self, group: Group) -> tuple[int, int]:
        """Return (rows, panels) that are computed at once."""
        if not group.sets:
            return 1, 1
        gates = max(len(products.products) for products in group.sets)
        inner = self._inner_panels(group)
        panels = max(n for n in range(1, 5) if inner % n == 0 and (n == 1 or n * gates <= MAX_GATES))
        return self.target.tiles[min(gates * panels, 4) - 1], panels

    def _width(self, group: Group) -> int:
        """Vectors of sums per row of a tile."""
        return sum(len(products.products) for products in group.sets) * self._tile(group)[1]

    def _is_ragged(self, group: Group) -> bool:
        return (group.channels // group.blocks) % self.lanes != 0

    def _column(self, group: Group, panel: Any) -> tuple[Any, Any]:
        """Return the first channel of a panel, and the mask of its lanes (None: all)."""
        b, inner, size = self.b, self._inner_panels(group), group.channels // group.blocks
        if group.blocks == 1:
            within, column = b.mul(panel, i(self.lanes)), b.mul(panel, i(self.lanes))
        else:
            within = b.mul(b.urem(panel, i(inner)), i(self.lanes))
            column = b.add(b.mul(b.udiv(panel, i(inner)), i(size)), within)
        if not self._is_ragged(group):
            return column, None
        left = b.trunc(b.sub(i(size), within), i32)
        lanes = ir.Constant(ir.VectorType(i32, self.lanes), list(range(self.lanes)))
        return column, b.icmp_signed("<", lanes, self._spread(left, i32))

    def _array_width(self, home: Home) -> int:
        graph = self.graph
        if home.kind == "stream":
            return graph.streams[home.number].width
        if home.kind == "emit":
            return sum(piece.channels for piece in graph.emits[home.number])
        return self.schedule.scratch[home.number] if home.kind == "scratch" else graph.carries[home.number]

    def _base(self, home: Home) -> tuple[Any, int]:
        """Return the pointer to an array at this step, and its width."""
        return self.bases[home.kind, home.number], self._array_width(home)

    def _find_bases(self) -> None:
        """Compute the pointers to all arrays at this step."""
        b, graph = self.b, self.graph
        self.bases: dict[tuple[str, int], Any] = {}
        counts = {"stream": len(graph.streams), "emit": len(graph.emits), "scratch": len(self.schedule.scratch)}
        counts |= {"carry": len(graph.carries), "next": len(graph.carries)}
        for home in (Home(kind, number, 0) for kind, count in counts.items() for number in range(count)):
            slot = self._slot(home)
            offset = i(0) if slot is None else b.mul(b.mul(slot, self.B), i(self._array_width(home)))
            name = "carry" if home.kind == "next" else home.kind
            self.bases[home.kind, home.number] = b.gep(
                self.pointers[name, home.number], [offset], source_etype=self.real
            )

    def _slot(self, home: Home) -> Any:
        b = self.b
        if home.kind == "stream":
            array = self.graph.streams[home.number]
            return b.add(self.t, i(array.shift)) if array.per_step else None
        if home.kind == "emit":
            return self.t
        if home.kind in ("carry", "next"):
            slot = self.step if home.kind == "carry" else b.add(self.step, i(1))
            return slot if home.number in self.histories else b.and_(slot, i(1))
        return None

    def _place(self, home: Home, row: Any, column: Any) -> Any:
        base, width = self._base(home)
        offset = self.b.add(self.b.mul(row, i(width)), i(home.column))
        return self.b.gep(base, [self.b.add(offset, column)], source_etype=self.real)

    def _fetch(self, place: Any, node: Node, mask: Any) -> Any:
        if node.channels == 1:
            return self._spread(self.b.load(place, typ=self.real), self.real)
        return self._load(place, mask)
