"""When each node of a step is computed, and where in memory it lives.

A step is a sequence of stages. A product reads whole rows, so its inputs come from earlier stages, as do the results of
reductions. Within a stage, nodes of equal channels form a group: one loop over panels of channels and rows, in which
products leave their sums in registers and all that is pointwise follows at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from recurra.engine.graphs.graph import REDUCTIONS, CannotCompileError, Graph, Node

__all__ = ["Group", "Home", "ProductSet", "Schedule", "schedule"]

MAX_GATES = 4  # products of one input that are summed at once


class Home(NamedTuple):
    """A place in memory: which array, and the first column.

    Args:
        kind: "stream", "carry" (before the step), "next" (after it), "emit" or "scratch".
    """

    kind: str
    number: int
    column: int


@dataclass(eq=False)
class ProductSet:
    """Products of the same input with columns of one matrix, which share the loop over it."""

    products: list[Node]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Pieces of the input."""
        return self.products[0].inputs

    @property
    def blocks(self) -> int:
        """Blocks of a block-diagonal matrix; 1 for a dense one."""
        return int(self.products[0].attributes[4])

    @property
    def rows(self) -> int:
        """Numbers that are summed up for each channel."""
        return sum(piece.channels for piece in self.inputs) // self.blocks


@dataclass(eq=False)
class Group:
    """One loop nest.

    Args:
        stores: nodes that are written, each with all its homes.
        reductions: `total` and `highest` nodes whose inputs are computed here.
        sums: (number, node) that are summed over rows and steps.
    """

    channels: int
    blocks: int
    sets: list[ProductSet] = field(default_factory=list)
    stores: list[tuple[Node, list[Home]]] = field(default_factory=list)
    reductions: list[Node] = field(default_factory=list)
    sums: list[tuple[int, Node]] = field(default_factory=list)


@dataclass
class Schedule:
    """A graph in stages.

    Args:
        homes: where each node that is in memory is read.
        levels: stage in which each node is computed.
        scratch: width of each scratch array (B, width).
        reductions: nodes with a slot for a number per row.
    """

    graph: Graph
    stages: list[list[Group]]
    homes: dict[Node, Home]
    levels: dict[Node, int]
    scratch: list[int]
    reductions: list[Node]

    @property
    def mixes_channels(self) -> bool:
        """Do channels depend on other channels, so that threads that share them must wait for each other?"""
        groups = [group for stage in self.stages for group in stage]
        if any(group.sets for group in groups) or len({(group.channels, group.blocks) for group in groups}) > 1:
            return True
        read = {(*node.attributes, node.channels) for node in self.graph.nodes() if node.op == "carry"}
        written = set()
        for leaf, pieces in enumerate(self.graph.next_carry):
            columns = accumulate((piece.channels for piece in pieces), initial=0)
            written |= {(leaf, column, piece.channels) for piece, column in zip(pieces, columns, strict=False)}
        return not read <= written  # a state whose parts change places


def schedule(graph: Graph) -> Schedule:
    """Put a graph into stages."""
    return _Scheduling(graph).run()


class _Scheduling:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = graph.nodes()
        self.levels: dict[Node, int] = {}
        self.blocks: dict[Node, int] = {}  # of the products that a node is computed with
        self.homes: dict[Node, Home] = {}
        self.stores: dict[Node, list[Home]] = {}
        self.scratch: list[int] = []

    def run(self) -> Schedule:
        for node in self.nodes:
            if node.op in ("stream", "carry"):
                self.homes[node] = Home(node.op, *node.attributes)
            if not node.is_leaf:
                self.levels[node] = self._level(node)
        for kind, lists in (("next", self.graph.next_carry), ("emit", self.graph.emits)):
            for number, pieces in enumerate(lists):
                columns = accumulate((piece.channels for piece in pieces), initial=0)
                for piece, column in zip(pieces, columns, strict=False):
                    self._store(piece, Home(kind, number, column))
        for node in self.nodes:
            if node.op == "product":
                for piece in node.inputs:
                    self._in_memory(piece)
        last = max([*self.levels.values(), *map(self._written, (*self.stores, *self.graph.sums)), 0])
        stages = [self._stage(number) for number in range(last, -1, -1)][::-1]
        reductions = [node for node in self.nodes if node.op in REDUCTIONS]
        return Schedule(self.graph, stages, self.homes, self.levels, self.scratch, reductions)

    def _level(self, node: Node) -> int:
        if node.op == "product":
            self.blocks[node] = node.attributes[4]
            return max(-1 if i in self.homes and i.is_leaf else self._written(i) for i in node.inputs) + 1
        level = max((self._ready(i) for i in node.inputs), default=0)
        meeting = {self.blocks[i] for i in node.inputs if i in self.blocks and self.levels[i] == level}
        if len(meeting) > 1:  # products of other blocks have another loop: they meet in memory
            return level + 1
        if meeting:
            self.blocks[node] = meeting.pop()
        return level

    def _ready(self, node: Node) -> int:
        """The first stage in which a node can be read."""
        if node.is_leaf:
            return 0
        # one number per row is read from memory, not from the lanes where it was computed
        return self.levels[node] + (node.op in REDUCTIONS or (node.op == "product" and node.channels == 1))

    def _written(self, node: Node) -> int:
        """The stage in which a node is stored; a reduction is complete after its own."""
        return self.levels.get(node, 0) + (node.op in REDUCTIONS)

    def _store(self, node: Node, home: Home) -> None:
        self.stores.setdefault(node, []).append(home)
        if not node.is_leaf:
            self.homes.setdefault(node, home)

    def _in_memory(self, node: Node) -> None:
        if node not in self.homes:
            self._store(node, Home("scratch", len(self.scratch), 0))
            self.homes[node] = Home("scratch", len(self.scratch), 0)
            self.scratch.append(node.channels)

    def _stage(self, number: int) -> list[Group]:
        """Form the groups of a stage; later ones are formed already, so that all they read is known."""
        groups: dict[tuple[int, int], Group] = {}

        def group(node: Node, channels: int) -> Group:
            blocks = self._blocks(node, number)
            return groups.setdefault((channels, blocks), Group(channels, blocks))

        for node, homes in self.stores.items():
            if self._written(node) == number:
                group(node, node.channels).stores.append((node, homes))
        for node in self.nodes:
            if node.op in REDUCTIONS and self.levels[node] == number:
                group(node.inputs[0], node.inputs[0].channels).reductions.append(node)
        for index, node in enumerate(self.graph.sums):
            if self._written(node) == number:
                group(node, node.channels).sums.append((index, node))
        for found in groups.values():
            wanted = [node for node, _ in found.stores]
            wanted += [node.inputs[0] for node in found.reductions] + [node for _, node in found.sums]
            found.sets = _sets(self._read(wanted, number))
        return list(groups.values())

    def _blocks(self, node: Node, number: int) -> int:
        found = {product.attributes[4] for product in self._read([node], number, keep=False)}
        if len(found) > 1:
            raise CannotCompileError("a product of blocks meets a dense one")
        return int(found.pop()) if found else 1

    def _read(self, wanted: list[Node], number: int, keep: bool = True) -> list[Node]:
        """Return the products of this stage that nodes need, and give what they need of earlier stages a home."""
        products, seen, stack = set(), set(), list(wanted)
        while stack:
            node = stack.pop()
            if node in seen or node.is_leaf or node.op in REDUCTIONS:
                continue
            seen.add(node)
            if self.levels[node] < number and not self._is_free(node):
                if keep and not (node.channels == 1 and node.is_pointwise):
                    self._in_memory(node)
                    continue
                if not (node.channels == 1 and node.is_pointwise):
                    continue
            if node.op == "product":
                products.add(node)
            else:
                stack.extend(node.inputs)
        return sorted(products, key=lambda node: node.index)

    def _is_free(self, node: Node) -> bool:
        """Is a node computed from what is given alone? Then it is computed where it is needed."""
        if node.is_leaf:
            return True
        return node.is_pointwise and all(self._is_free(i) for i in node.inputs)


def _sets(products: list[Node]) -> list[ProductSet]:
    sets: dict[object, list[list[Node]]] = {}
    for node in products:
        weight, transposed, _, rows, blocks = node.attributes
        bundles = sets.setdefault((weight, transposed, rows, blocks, node.inputs), [[]])
        if len(bundles[-1]) == MAX_GATES:
            bundles.append([])
        bundles[-1].append(node)
    return [ProductSet(bundle) for bundles in sets.values() for bundle in bundles]
