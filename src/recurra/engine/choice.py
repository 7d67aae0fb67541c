"""Which path runs a cell: a compiled loop, a kernel of the framework's, or the reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.engine.choices import faster
from recurra.engine.compiled import Plan, run_plan
from recurra.engine.library import find_kernel, run_kernel
from recurra.engine.loop import run_loop
from recurra.engine.operator import is_traced
from recurra.engine.plans import find_plan
from recurra.errors import EngineError, nearest
from recurra.state import named_leaves

__all__ = ["BACKENDS", "Path", "check_cell_methods", "choose_path"]

BACKENDS = ("auto", "llvm", "library", "loop")


class Path(NamedTuple):
    """A way to run a cell: its backend, why it was chosen, and ``run(cell, inputs, state, alive, reset, gate)``."""

    backend: str
    reason: str
    run: Callable[..., tuple[Tensor, Any]]
    plan: Plan | None = None


def choose_path(cell: Any, inputs: Any, state: Any, backend: str = "auto") -> Path:
    """Choose how to run a cell over inputs (T, B, ...) from a state: a pure function of what they are.

    Raises: EngineError for an unknown backend, or one that cannot run the cell.
    """
    if backend not in BACKENDS:
        raise EngineError(f"unknown backend '{backend}'{nearest(backend, BACKENDS)}")
    if backend == "loop":
        return Path("loop", "asked for", run_loop)
    if backend == "library":
        library = _library(cell, inputs) or _at_once(cell, inputs)
        if library is None:
            raise EngineError(f"no kernel computes the step of {type(cell).__name__}; use backend='auto' or 'loop'")
        return library
    found = _compiled(cell, inputs, state)
    if not isinstance(found, str):
        return found if backend == "llvm" else _faster(cell, inputs, found)
    if backend == "llvm":
        raise EngineError(f"the step of {type(cell).__name__} is not compiled: {found}; use backend='auto' or 'loop'")
    library = None if _is_transformed() else _library(cell, inputs)
    return library or _at_once(cell, inputs) or Path("loop", f"{found}; one Python call per step", run_loop)


def _library(cell: Any, inputs: Any) -> Path | None:
    kernel = find_kernel(cell) if isinstance(inputs, Tensor) else None
    if kernel is None:
        return None
    if inputs.device.type != "cpu":
        named = f"cuDNN's kernel '{kernel.name}'"
    elif kernel.name == "lstm" and inputs.dtype == torch.float32:
        named = "oneDNN's kernel 'lstm'"
    else:
        named = f"torch's CPU kernel '{kernel.name}'"
    return Path("library", f"{named} computes it", partial(run_kernel, kernel))


def _at_once(cell: Any, inputs: Any) -> Path | None:
    """Return the way of a cell that has one of its own through many steps."""
    if not (isinstance(inputs, Tensor) and callable(getattr(cell, "run_steps", None))):
        return None

    def run(cell: Any, inputs: Tensor, state: Any, alive: Any = None, reset: Any = None, gate: Any = None) -> Any:
        if gate is not None:  # it is the state between two steps whose gradient is scaled
            return run_loop(cell, inputs, state, alive, reset, gate)
        return cell.run_steps(inputs, state, alive, reset)

    return Path("library", "operations of torch take all its steps at once", run)


def _faster(cell: Any, inputs: Any, compiled: Path) -> Path:
    """Choose between a compiled loop and a kernel that computes the same, by the table."""
    kernel = find_kernel(cell) if isinstance(inputs, Tensor) else None
    if kernel is None or torch.compiler.is_compiling() or is_traced((inputs,)):
        return compiled  # a tracer would write out the steps of the kernel
    mode, rows = "train" if torch.is_grad_enabled() else "infer", inputs.shape[1]
    known = faster(kernel.name, mode, rows, cell.hidden_size, torch.get_num_threads())
    if known is None:
        return compiled
    at = f"{known.ratio:.2g} times the speed of torch's kernel at B={known.rows}, H={known.hidden}"
    library = _library(cell, inputs) if known.backend == "library" else None
    if library is not None:
        return library._replace(reason=f"{library.reason}; a compiled loop has {at}")
    return compiled._replace(reason=f"{compiled.reason}: {at}")


def _compiled(cell: Any, inputs: Any, state: Any) -> Path | str:
    leaves = (*named_leaves(inputs).values(), *named_leaves(state).values())
    if any(leaf.device.type != "cpu" for leaf in leaves):
        return "compiled loops run on a CPU"
    if torch.is_autocast_enabled("cpu"):  # to record here would leave casts without gradients in autocast's cache
        return "compiled loops compute in the type of the weights, not in that of torch.autocast"
    if torch.compiler.is_dynamo_compiling():
        from recurra.engine.tracing import find_runner  # torch._dynamo: more than a second, for those who compile alone

        runner = find_runner(cell, inputs, state)
        return runner if isinstance(runner, str) else Path("llvm", "an operation of the graph", runner)
    if _is_transformed():
        return "compiled loops do not run inside transformations of torch.func"
    if is_traced(leaves):
        from recurra.engine.tracing import find_plan_aside as find
    else:
        find = find_plan
    plan = find(cell, inputs, state, trains=torch.is_grad_enabled())
    return plan if isinstance(plan, str) else Path("llvm", "compiled for this processor", partial(run_plan, plan), plan)


def _is_transformed() -> bool:
    """Is this within vmap, jvp or grad of torch.func, whose rules kernels lack?"""
    return torch._C._functorch.peek_interpreter_stack() is not None


def check_cell_methods(cell: Any) -> None:
    """Check that something is a cell.

    Raises: EngineError if it is not.
    """
    if not (callable(getattr(cell, "step", None)) and callable(getattr(cell, "zero_state", None))):
        raise EngineError(
            f"{type(cell).__name__} is no cell: a cell has step(x, state) and zero_state(batch); "
            f"recurra.cells and recurra.nn hold those of torch.nn"
        )
