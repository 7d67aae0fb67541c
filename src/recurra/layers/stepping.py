"""The quick way through `recurra.nn`: a few steps of a few rows without gradients, all layers in one native call.

A step of 256 units takes some ten microseconds, as long as a handful of torch operations. So each check here is the
cheapest that tells, and whatever is unusual is left to the ordinary way, which also finds the words for what is wrong.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, empty_like, get_num_threads, nn

from recurra.engine.graphs.graph import CannotCompileError
from recurra.engine.llvm.entry import THREADS, enter
from recurra.engine.step import CompiledStep, Leaf, Space, compile_step, special_mode
from recurra.errors import RecurraError

__all__ = ["Stepper"]

MOST_ROWS = 16  # T · B
KEPT = 64  # shapes


class _Form:
    """An input's shape, and what belongs to it.

    Args:
        outputs, states: empty tensors like the results.
        shapes: of the states.
    """

    def __init__(self, outputs: Tensor, states: list[Tensor], make_space: Callable[[], Space]) -> None:
        self.outputs = outputs
        self.states = states
        self.shapes = [state.shape for state in states]
        self.zeros: list[Any] = [0] * len(states)
        self.make_space = make_space
        self.free: list[Space] = []


class _Layers(nn.Module):
    """All layers and directions of a module as one cell; correct for a single step, and forwards for any number."""

    def __init__(self, cells: list[Any], directions: int) -> None:
        super().__init__()
        self.cells: Any = nn.ModuleList(cells)
        self.directions = directions

    def step(self, x: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """x (B, I) and the states of all cells, in torch's order -> output (B, D·H), next states."""
        following: list[Any] = []
        for first in range(0, len(self.cells), self.directions):
            outputs = []
            for n in range(first, first + self.directions):
                output, after = self.cells[n].step(x, state[n])
                outputs.append(output)
                following.append(after)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
        return x, tuple(following)

    def zero_state(self, batch: int) -> tuple[Any, ...]:
        """The states of all cells."""
        return tuple(cell.zero_state(batch) for cell in self.cells)


class Stepper:
    """What a module of `recurra.nn` keeps for its quick way. A copy of the module begins with a fresh one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._step: CompiledStep | None = None
        self._failed = False
        self._dtype: torch.dtype | None = None
        self._forms: dict[Any, _Form] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Stepper, ()

    def __call__(self, module: Any, x: Any, hx: Any) -> Any:
        """Return (outputs, hx) as the module's `forward`, without gradients; None if it must go the ordinary way."""
        try:
            form = self._forms.get(x.shape) or self._make_form(module, x)
            dtype = self._dtype
            # `is_plain`, written out here and below: a call takes as long as what it asks
            if form is None or type(x) is not Tensor or x.dtype is not dtype or not x.is_cpu or special_mode():
                return None
            # a matrix that was transposed in place is missing here, and differs
            pointers = [p.data_ptr() for p in module._parameters.values() if p.is_contiguous()]
        except (AttributeError, RuntimeError):  # a parameter that is None, or somewhere else than in memory
            return None
        try:
            space = form.free.pop()
        except IndexError:
            space = form.make_space()
        if pointers != space.pointers and not self._bind(module, space, pointers):
            return None
        words, at, num_states = space.words, space.sources, len(form.states)
        x = x.contiguous()
        given = hx if hx is None or num_states > 1 else (hx,)
        if given is None:
            words[at : at + num_states] = form.zeros
        elif type(given) is not tuple or len(given) != num_states:
            return None
        else:
            kept = []
            for leaf, shape in zip(given, form.shapes, strict=True):
                if type(leaf) is not Tensor or leaf.dtype is not dtype or not leaf.is_cpu or leaf.shape != shape:
                    return None
                kept.append(leaf := leaf.contiguous())
                words[at] = leaf.data_ptr()
                at += 1
        at = space.sources + num_states
        finals = []
        for like in form.states:
            finals.append(final := empty_like(like))
            words[at] = final.data_ptr()
            at += 1
        outputs = empty_like(form.outputs)
        words[space.inputs] = x.data_ptr()
        words[space.outputs] = outputs.data_ptr()
        if space.step.threads > 1:
            words[THREADS] = min(space.step.threads, get_num_threads())
        enter()(space.address)
        form.free.append(space)
        return outputs, tuple(finals) if num_states > 1 else finals[0]

    def _bind(self, module: Any, space: Space, pointers: list[int]) -> bool:
        """Let a space refer to the module's tensors as they are now, if they are as they should be."""
        found = list(module._parameters.values())
        names = [name for names in module._all_weights for name in names]
        fits = (
            list(module._parameters) == names
            and len(pointers) == len(names)
            and all(type(p) in (Tensor, nn.Parameter) and p.dtype == self._dtype and p.is_cpu for p in found)
        )
        try:
            step = space.step
            if not fits or [p.shape for p in found] != _shapes(module):
                raise CannotCompileError("the module's tensors are not those that it was made with")
            places = [names.index(_name(module, path)) for path in step.paths]
            if not space.bind([found[n] for n in places]):
                raise CannotCompileError("the step computes with more than the module's tensors")
        except CannotCompileError:
            with self._lock:  # another type, perhaps: begin afresh
                self._forms, self._step, self._dtype = {}, None, None
            return False
        space.pointers = pointers
        return True

    def _make_form(self, module: Any, x: Any) -> _Form | None:
        """Return what belongs to an input's shape, or None if it is not for the quick way."""
        if self._failed or type(x) is not Tensor or x.dim() not in (2, 3) or x.shape[-1] != module.input_size:
            return None
        unbatched = x.dim() == 2
        axes = (*x.shape[:1], 1) if unbatched else x.shape[:2][:: -1 if module.batch_first else 1]
        steps, rows = axes
        if not 1 <= steps * rows <= MOST_ROWS or (
            steps > 1 and (module.bidirectional or (module.batch_first and rows > 1))
        ):
            return None
        with self._lock:
            step = self._step = self._step or self._compile(module, x)
            if step is None:
                return None
            directions = 2 if module.bidirectional else 1
            cells = module.num_layers * directions
            kinds = len(step.widths) // cells
            widths, size = step.widths[:kinds], step.dtype.itemsize
            leaves: list[Leaf] = [
                (n % kinds, n // kinds * rows * widths[n % kinds] * size) for n in range(len(step.widths))
            ]
            with torch.inference_mode(False):
                states = [torch.empty((cells, *(() if unbatched else (rows,)), w), dtype=step.dtype) for w in widths]
                outputs = torch.empty((*x.shape[:-1], widths[0] * directions), dtype=step.dtype)
            form = _Form(outputs, states, lambda: Space(step, steps, rows, leaves, kinds))
            if len(self._forms) >= KEPT:
                self._forms.clear()
            self._forms[x.shape] = form
            return form

    def _compile(self, module: Any, x: Tensor) -> CompiledStep | None:
        directions = ("", "_reverse") if module.bidirectional else ("",)
        size = module.proj_size or module.hidden_size
        try:
            cells = [
                module._cell(f"_l{layer}{suffix}", size * len(directions) if layer else module.input_size)
                for layer in range(module.num_layers)
                for suffix in directions
            ]
            whole = _Layers(cells, len(directions))
            step = compile_step(whole, x.new_zeros(1, 2, module.input_size), whole.zero_state(2))
        except (CannotCompileError, RecurraError, AttributeError):
            self._failed = True
            return None
        self._dtype = step.dtype
        return step


def _name(module: Any, path: str) -> str:
    """Return torch's name of a tensor that `_Layers` keeps under a path: "cells.1.weight_ih_l0"."""
    _, number, name = path.split(".")
    layer, backwards = divmod(int(number), 2 if module.bidirectional else 1)
    return name.replace("_l0", f"_l{layer}{'_reverse' if backwards else ''}")


def _shapes(module: Any) -> list[torch.Size]:
    """Return the shapes of a module's parameters, in torch's order."""
    gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1) * module.hidden_size
    directions, size = 2 if module.bidirectional else 1, module.proj_size or module.hidden_size
    found: list[torch.Size] = []
    for layer in range(module.num_layers):
        for _ in range(directions):
            one: list[tuple[int, ...]] = [(gates, size * directions if layer else module.input_size), (gates, size)]
            one += [(gates,), (gates,)] if module.bias else []
            one += [(module.proj_size, module.hidden_size)] if module.proj_size else []
            found += map(torch.Size, one)
    return found
