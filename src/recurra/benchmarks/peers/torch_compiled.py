"""The loop in PyTorch through `torch.compile`, which unrolls it: minutes for a long one."""

from __future__ import annotations

from typing import Any

import torch

from recurra.benchmarks.peers.torch_loop import loop
from recurra.benchmarks.peers.torch_nn import call_of
from recurra.benchmarks.work import Call, Unavailable, Work

__all__ = ["prepare"]


def prepare(work: Work) -> Call:
    """Compile the loop of this shape alone; the first call does it."""
    torch.compiler.reset()  # what was compiled for other shapes counts against a limit
    compiled: Any = torch.compile(loop, dynamic=False)
    call = call_of(work, lambda inputs: compiled(work.cell, inputs, work.state), list(work.cell.parameters()))
    try:
        call()
    except Exception as error:  # the compilers underneath, and the lack of one, raise whatever they like
        reason = str(error).strip().splitlines() or [""]
        raise Unavailable(f"torch.compile fails here: {type(error).__name__}: {reason[0]}") from error
    return call
