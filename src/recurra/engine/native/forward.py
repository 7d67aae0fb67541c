"""The forward pass of a compiled loop as a script: products with the input, piece by piece of time, and the loop.

The product that makes a stream from the input is done for some steps at a time, right before the loop reads it. What
passes between them stays in the cache of the core that does both, and no tensor of all steps is made for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.engine.native.given import Given, Left
from recurra.engine.native.loops import Loop
from recurra.engine.native.script import Matrix, Script, ScriptWriter, Strides
from recurra.engine.native.walk import Walk, choose_threads, pieces
from recurra.engine.native.workspace import Loan

__all__ = ["forward"]


def forward(loop: Loop, steps: int, rows: int, given: Given, trains: bool) -> tuple[list[Tensor], list[Tensor], Left]:
    """Run the loop forward.

    Returns: (emits (T, B, width), final state (B, width) of each leaf, what the backward pass reads if it trains).
    """
    strides, depths = given.strides(), given.depths()
    key = ("forward", trains, steps, rows, torch.get_num_threads(), *depths.items(), *strides)
    script = loop.scripts.find(key, lambda: _write(loop, steps, rows, trains, depths, strides))
    dtype, kept = loop.dtype, None
    histories = {n: torch.empty(steps + 1, rows, loop.graph.carries[n], dtype=dtype) for n in loop.histories(trains)}
    emits = {n: torch.empty(steps, rows, width, dtype=dtype) for n, width in loop.written}
    finals = [torch.empty(rows, width, dtype=dtype) for width in loop.graph.carries]
    arrays: dict[Any, Tensor] = given.named()
    arrays.update((("history", n), array) for n, array in histories.items())
    arrays.update((("final", n), array) for n, array in enumerate(finals))
    arrays.update((("emit", n), array) for n, array in enumerate(emits.values()))
    if trains and loop.derivative.kept:
        kept = Loan(steps, rows, sum(node.channels for node in loop.derivative.kept), dtype=dtype)
        arrays["emit", len(emits)] = kept.tensor
    script.run(arrays)
    results = [emits[n] if leaf is None else histories[leaf][1:] for n, leaf in enumerate(loop.aliases)]
    return results, finals, Left(histories, emits, kept)


def _write(loop: Loop, steps: int, rows: int, trains: bool, depths: dict[int, int], strides: list[Strides]) -> Script:
    graph, program, histories = loop.graph, loop.forward(trains), loop.histories(trains)
    script = ScriptWriter(loop.dtype, *choose_threads(program, steps, rows, graph, depths))
    walk = Walk(script, program, steps, rows, strides[len(depths) :])
    for leaf, width in enumerate(graph.carries):
        walk.carry(leaf, width, script.base(("history", leaf)) if leaf in histories else None)
        script.copy(walk.places["carry", leaf], script.base(("state", leaf)), rows, width)
    for number, array in enumerate(graph.streams):
        walk.array("stream", number, script.base(("stream", number)), array.width if array.per_step else 0)
    widths = [width for _, width in loop.written]
    if trains and loop.derivative.kept:
        widths.append(sum(node.channels for node in loop.derivative.kept))
    for number, width in enumerate(widths):
        walk.array("emit", number, script.base(("emit", number)), width)
    feeds = {
        n: (script.base(("stream", n)), depth, graph.streams[n].width, _matrix(script, n, stride))
        for (n, depth), stride in zip(depths.items(), strides, strict=False)
    }
    packed = {n: script.pack(matrix, depth, width) for n, (_, depth, width, matrix) in feeds.items()}
    spans = list(pieces(steps, rows, [width for _, _, width, _ in feeds.values()], script.threads))
    longest = spans[0][1] - spans[0][0]
    room = {n: script.reserve(longest * rows * width) for n, (_, _, width, _) in feeds.items()}
    for n, place in room.items():
        walk.array("stream", n, place, 0)
    script.wait()
    for first, last in spans:
        script.pause()
        count = (last - first) * rows
        for n, (x, depth, width, _) in feeds.items():
            left = Matrix(x.plus(first * rows * depth * script.size), depth, 1)
            goal = Matrix(room[n], width, 1)
            script.multiply(left, packed[n], goal, (count, depth, width), steps=last - first)
        walk.run(first, last)
    for leaf, width in enumerate(graph.carries):
        at = walk.carried(leaf, steps)
        script.copy(script.base(("final", leaf)), at, rows, width)
    return script.finish()


def _matrix(script: ScriptWriter, number: int, stride: Strides) -> Matrix:
    return Matrix(script.base(("feed", number)), stride[0], stride[1])
