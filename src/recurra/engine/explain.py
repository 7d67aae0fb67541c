"""What the engine makes of a cell, in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from recurra.engine.choice import check_cell_methods, choose_path
from recurra.engine.compiled import Plan
from recurra.engine.graph import Graph
from recurra.engine.llvm.schedule import schedule
from recurra.engine.recording import Call
from recurra.state import named_leaves

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True)
class Explanation:
    """Which path `scan` takes for a cell, and why.

    Args:
        path: "llvm", "library" or "loop".
        before, after: operations on all steps at once, before and after the loop.
        inside, backward: what a step of the loop does, forward and backward, stage by stage.
        kept_bytes: bytes per row and step that the forward pass leaves for the backward pass.
    """

    cell: str
    path: str
    reason: str
    before: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    backward: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    kept_bytes: int | None = None

    def __str__(self) -> str:
        lines = [f"{self.cell}: {self.path} ({self.reason})"]
        for title, stages in (("before", self.before), ("inside", self.inside), ("after", self.after)):
            lines += _indented(title, stages)
        lines += _indented("backward", self.backward)
        if self.kept_bytes is not None:
            lines.append(f"  kept      {self.kept_bytes:,} bytes per row and step")
        return "\n".join(lines)


def explain(cell: Any, inputs: Any = None) -> Explanation:
    """Say which path `scan` takes for a cell, and why.

    Args:
        inputs: (T, B, I) or a tree of such. Default: what the cell's `input_size` says, in the type of its weights.
    Raises: EngineError if it is no cell.
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
        path = choose_path(cell, inputs, state)
    if path.plan is None:
        return Explanation(name, path.backend, path.reason)
    return _explain_plan(name, path.backend, path.reason, path.plan)


def _explain_plan(name: str, backend: str, reason: str, plan: Plan) -> Explanation:
    loop = plan.loop(reset=False, alive=False, fresh_has_gradient=False)
    derivative = loop.derivative
    kept = sum(node.channels for node in derivative.kept) + sum(loop.graph.carries[n] for n in derivative.histories)
    return Explanation(
        name,
        backend,
        reason,
        before=_calls(plan, plan.split.before),
        inside=_stages(loop.graph),
        backward=_stages(derivative.graph),
        after=_calls(plan, plan.split.after),
        kept_bytes=kept * (4 if plan.dtype == torch.float32 else 8),
    )


def _calls(plan: Plan, calls: list[Call]) -> tuple[str, ...]:
    """Describe operations on all rows and steps; those on parameters alone go without saying."""
    recording = plan.split.recording
    found = []
    for call in calls:
        shapes = [recording.shapes[n] for n in call.outputs if n is not None]
        if any(-1 in shape for shape in shapes):
            found.append(f"{call.function.overloadpacket.__name__} -> {', '.join(str(s[1:]) for s in shapes)}")
    return tuple(found)


def _stages(graph: Graph) -> tuple[str, ...]:
    planned = schedule(graph)
    stages = []
    for number, _ in enumerate(planned.stages):
        here = [node for node, level in planned.levels.items() if level == number]
        products = [f"{sum(i.channels for i in p.inputs)} x {p.channels}" for p in here if p.op == "product"]
        counts = Counter(node.op for node in here if node.op not in ("product", "copy", "detach"))
        parts = [
            f"product {size}" + (f" ({times} times)" if times > 1 else "") for size, times in Counter(products).items()
        ]
        parts += [f"{op}" + (f" x {times}" if times > 1 else "") for op, times in sorted(counts.items())]
        stages.append(", ".join(parts))
    return tuple(stages)


def _indented(title: str, lines: tuple[str, ...]) -> list[str]:
    return [f"  {title if n == 0 else '':<9} {line}" for n, line in enumerate(lines)]
