"""From measurements to the table by which the engine chooses between its compiled loops and the library's kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recurra.benchmarks.engine import Result
from recurra.benchmarks.peers import OURS
from recurra.cells import make_cell
from recurra.engine.choices import Choice
from recurra.engine.library import find_kernel
from recurra.engine.processor import processor

__all__ = ["TUNED_CELLS", "choices_from"]

TUNED_CELLS = ("rnn", "rnn-relu", "gru", "lstm")
"""Cells that have a kernel."""

WORTH = 1.03  # a kernel of the library must win by more than what two runs differ by


def choices_from(results: Sequence[Result]) -> list[Choice]:
    """Return which was the faster at each shape where both were measured."""
    found = []
    for result in results:
        case, speeds = result.case, result.speeds
        kernel = find_kernel(make_cell(case.cell, 2, 2))
        names = (f"{OURS} llvm", f"{OURS} library")
        if kernel is None or case.mode == "step" or not all(name in speeds for name in names):
            continue
        llvm, library = (speeds[name].seconds for name in names)
        found.append(
            Choice(
                vendor=processor().vendor,
                kernel=kernel.name,
                mode=case.mode,
                threads=torch.get_num_threads(),
                rows=case.rows,
                hidden=case.size,
                backend="library" if llvm > WORTH * library else "llvm",
                ratio=round(library / llvm, 2),
            )
        )
    return found
