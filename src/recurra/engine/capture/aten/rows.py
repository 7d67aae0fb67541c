"""Which operations of torch keep rows apart: those may be done for all steps at once, before the loop or after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from recurra.engine.capture.aten.table import LOWERINGS
from recurra.engine.capture.recording import Batch, Call
from recurra.engine.graphs.graph import CannotCompileError

__all__ = ["HEAVY", "check_rows", "is_known"]

aten = torch.ops.aten

# What is done before or after the loop if it can.
HEAVY = {
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.baddbmm.default,
    aten.embedding.default,
    aten.native_layer_norm.default,
    aten._fused_rms_norm.default,
    aten._softmax.default,
    aten._log_softmax.default,
    aten.logsumexp.default,
    aten.linalg_vector_norm.default,
    aten.sum.dim_IntList,
    aten.mean.dim,
    aten.var.correction,
    aten.std.correction,
    aten.var_mean.correction,
    aten.amax.default,
    aten.amin.default,
    aten.max.dim,
    aten.min.dim,
}

# What the loop does not know, but which rows it keeps apart: the place of its axis among its arguments, None if it has
# none that could be the batch.
APART: dict[Any, int | None] = {
    aten.embedding.default: None,
    aten.native_group_norm.default: None,
    aten.cumsum.default: 1,
    aten.cumprod.default: 1,
    aten.prod.dim_int: 1,
    aten.sort.default: 1,
    aten.argmax.default: 1,
    aten.argmin.default: 1,
    aten.topk.default: 2,
    aten.flip.default: 1,
    aten.gather.default: 1,
}

# Among those that the loop knows, what goes along an axis and does not show in the shape of its result.
ALONG = {aten._softmax.default: 1, aten._log_softmax.default: 1, aten.roll.default: 2}

# What takes nothing but the type of its first argument.
ANEW = {aten.new_full.default, aten.new_zeros.default, aten.new_ones.default}


def is_known(call: Call) -> bool:
    """Can a call be done for all rows of all steps at once?"""
    return call.function in LOWERINGS or call.function in APART or torch.Tag.pointwise in call.function.tags


def check_rows(call: Call, shapes: Sequence[tuple[int, ...]]) -> None:
    """Check that a call that reads rows keeps them apart.

    Raises: CannotCompileError if it does not.
    """
    inputs = [shapes[n] for n in call.inputs]
    outputs = [shapes[n] for n in call.outputs if n is not None]
    counts = [sum(size < 0 for size in shape) for shape in outputs]
    has_rows = call.function not in ANEW and any(-1 in shape for shape in inputs)
    if has_rows and any(count != 1 for count in counts):
        raise _mixes(call)
    if torch.Tag.pointwise in call.function.tags and any(isinstance(argument, Batch) for argument in call.args):
        raise CannotCompileError(f"{call.function} depends on the number of rows, at {call.where}")
    place = APART.get(call.function, ALONG.get(call.function))
    if place is not None:
        given = call.args[place] if len(call.args) > place else call.kwargs.get("dim", call.kwargs.get("dims", -1))
        dims = given if isinstance(given, (list, tuple)) else [given]
        if any(dim is None or inputs[0][dim] < 0 for dim in dims):
            raise _mixes(call)


def _mixes(call: Call) -> CannotCompileError:
    return CannotCompileError(f"{call.function} mixes the rows of a batch, at {call.where}")
