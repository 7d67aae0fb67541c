"""What the engine makes of a cell, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from recurra.engine.capture.aten import HEAVY
from recurra.engine.capture.recording import Call
from recurra.engine.choice import check_cell_methods, choose_path
from recurra.engine.compiled import Plan
from recurra.engine.graphs.graph import Graph, Node
from recurra.engine.llvm.schedule import Group, schedule
from recurra.state import named_leaves

__all__ = ["Explanation", "explain"]

SILENT = {"copy", "detach", "constant"}  # moves of numbers, not work


@dataclass(frozen=True)
class Explanation:
    """Which path `scan` takes for a cell, and why.

    Args:
        path: "llvm", "library" or "loop".
        reason: why that one; for the loop, the operation that is in the way and its file and line.
        before, after: operations on all steps at once, before and after the loop.
        inside, backward: what a step of the loop does, forward and backward, stage by stage: a stage ends where a
            product or a reduction needs whole rows.
        kept: what the forward pass leaves for the backward pass, and its `kept_bytes` per row and step.
    """

    cell: str
    path: str
    reason: str
    before: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    backward: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    kept: str = ""
    kept_bytes: int | None = None

    def __str__(self) -> str:
        lines = [f"{self.cell}: {self.path} ({self.reason})"]
        for title in ("before", "inside", "after", "backward"):
            entries: tuple[str, ...] = getattr(self, title)
            lines += [f"  {title if n == 0 else '':<9} {entry}" for n, entry in enumerate(entries)]
        if self.kept_bytes is not None:
            what = f": {self.kept}" if self.kept else ""
            lines.append(f"  {'kept':<9} {self.kept_bytes:,} bytes per row and step{what}")
        return "\n".join(lines)


def explain(cell: Any, inputs: Any = None, *, backend: str = "auto") -> Explanation:
    """Say which path `scan` takes for a cell, and why.

    Args:
        inputs: (T, B, I) or a tree of such. Default: what the cell's `input_size` says, in the type of its weights.
        backend: as for `scan`.
    Raises: EngineError if it is no cell, or the backend cannot run it.
    """
    check_cell_methods(cell)
    name, state = type(cell).__name__, cell.zero_state(1)
    if inputs is None:
        size = getattr(cell, "input_size", None)
        if not isinstance(size, int):
            return Explanation(name, "loop", "it has no input_size; give inputs like those of a scan")
        like = next(iter(named_leaves(state).values()), None)
        inputs = torch.zeros(1, 1, size) if like is None else like.new_zeros(1, 1, size)
    with torch.enable_grad():
        path = choose_path(cell, inputs, state, backend)
    if path.plan is None:
        return Explanation(name, path.backend, path.reason)
    return _explain_plan(name, path.backend, path.reason, path.plan, list(named_leaves(state)))


def _explain_plan(name: str, backend: str, reason: str, plan: Plan, leaves: list[str]) -> Explanation:
    loop = plan.loop(reset=False, alive=False, fresh_has_gradient=False)
    derivative = loop.derivative
    histories = [f"state {leaves[n]}".rstrip() for n in sorted(derivative.histories)]
    numbers = sum(node.channels for node in derivative.kept) + sum(loop.graph.carries[n] for n in derivative.histories)
    return Explanation(
        name,
        backend,
        reason,
        before=_calls(plan, plan.split.before),
        inside=_stages(loop.graph),
        backward=_stages(derivative.graph),
        after=_calls(plan, plan.split.after),
        kept=", ".join([*histories, *_count(derivative.kept)]),
        kept_bytes=numbers * plan.dtype.itemsize,
    )


def _calls(plan: Plan, calls: Sequence[Call]) -> tuple[str, ...]:
    """Describe what is heavy on all rows and steps; the rest, and what is done to parameters, goes without saying."""
    shapes, found = plan.split.recording.shapes, []
    for call in calls:
        result = next(shapes[n] for n in call.outputs if n is not None)
        if -1 in result and call.function in HEAVY:
            given = next(shapes[n] for n in call.inputs if -1 in shapes[n])
            name = call.function.overloadpacket.__name__.removeprefix("_").removeprefix("native_").replace("_", " ")
            name = "product" if name in ("mm", "addmm", "bmm", "baddbmm") else name
            found.append(f"{name} {_width(given)} -> {_width(result)}, for all steps at once")
    return tuple(found)


def _width(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape if size != -1) or "1"


def _stages(graph: Graph) -> tuple[str, ...]:
    planned = schedule(graph)
    stages = []
    for number, groups in enumerate(planned.stages):
        here = [node for node, level in planned.levels.items() if level == number and node.op != "product"]
        stages.append(", ".join([*_products(groups), *_count(here)]))
    return tuple(stage for stage in stages if stage)


def _products(groups: Sequence[Group]) -> list[str]:
    """Describe products; those of one input are one, whose results lie side by side."""
    columns: dict[tuple[int, int, tuple[Node, ...]], int] = {}
    for products in (products for group in groups for products in group.sets):
        key = (products.products[0].attributes[0], products.blocks, products.inputs)
        columns[key] = columns.get(key, 0) + sum(node.channels for node in products.products)
    described = []
    for (_, blocks, inputs), width in columns.items():
        size = f"product {sum(piece.channels for piece in inputs)} -> {width}"
        described.append(size if blocks == 1 else f"{size} in {blocks} blocks")
    return described


def _count(nodes: Iterable[Node]) -> list[str]:
    """Describe operations by name and number of channels."""
    widths: Counter[str] = Counter()
    for node in nodes:
        if node.op not in SILENT:
            widths[node.op] += node.inputs[0].channels if node.op in ("total", "highest") else node.channels
    return [f"{op} {width}" for op, width in widths.items()]
