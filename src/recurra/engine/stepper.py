"""Any cell's step as one native call, for who takes one step after another: streams, generation, beams."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, empty_like, get_num_threads, nn

from recurra.engine.graphs.graph import CannotCompileError
from recurra.engine.llvm.entry import THREADS, enter
from recurra.engine.quantised import Quantised
from recurra.engine.step import CLOSE, CompiledStep, Space, compile_step, is_plain, special_mode
from recurra.state import map_leaves, named_leaves

__all__ = ["CellStepper"]

MOST_ROWS = 16
MOST_CHANGES = 20


class _Form:
    """What belongs to a number of rows: empty tensors like the results, and spaces that nobody uses just now."""

    def __init__(self, input_shape: torch.Size, output: Tensor, states: list[Tensor]) -> None:
        self.input_shape = input_shape
        self.output = output
        self.states = states
        self.free: list[Space] = []


class CellStepper:
    """Takes steps for one cell, without gradients, as long as the cell stays what it was; weights may change.

    Args:
        cell: a module whose `step` needs its modules, their tensors and their plain attributes, and nothing else.
        small: weights in few bytes, by where the cell keeps the same ones in float32. They are read in place of those,
            which are needed at the first step only, all but `needed`.
    """

    def __init__(self, cell: nn.Module, small: Mapping[str, Quantised] | None = None) -> None:
        self._small = small
        self._lock = threading.Lock()
        self._cell = cell
        self._step: CompiledStep | None = None
        self._reason = ""
        self._changes = 0
        self._template: Any = None
        self._forms: dict[int, _Form] = {}
        self._tensors: list[tuple[dict[str, Any], str]] = []
        self._modules: list[tuple[dict[str, Any], str, nn.Module]] = []
        self._facts: list[tuple[dict[str, Any], int, itemgetter[Any], Any]] = []

    @property
    def reason(self) -> str:
        """Why no steps are taken; empty if they are, or none was tried."""
        return self._reason

    @property
    def is_compiled(self) -> bool:
        """Are steps taken now?"""
        return self._step is not None

    @property
    def needed(self) -> set[str]:
        """Where the cell keeps the weights that a step needs in float32 though there are some in few bytes."""
        return set() if self._step is None else self._step.needed

    def __call__(self, x: Tensor, state: Any) -> tuple[Tensor, Any] | None:
        """Return ``cell.step(x, state)`` for x (B, I), or None if that must be had the ordinary way."""
        rows = len(x)
        if self._reason or torch.is_grad_enabled() or not 1 <= rows <= MOST_ROWS or special_mode():
            return None
        if self._step is None and not self._compile(x, state):
            return None
        step = self._step
        if step is None or not is_plain(x, step.dtype):
            return None
        if not self._is_same():
            self._begin_again()
            return None
        form = self._forms.get(rows) or self._make_form(step, rows)
        given: list[Tensor] = []
        if x.shape != form.input_shape or not _flatten(self._template, state, given):
            return None
        try:
            pointers = [found[name].data_ptr() for found, name in self._tensors]
        except (KeyError, AttributeError, RuntimeError):
            return None
        try:
            space = form.free.pop()
        except IndexError:
            space = Space(step, 1, rows, [(n, 0) for n in range(len(given))], len(given))
        if (pointers != space.pointers or not space.stays) and not self._bind(space, pointers):
            return None
        words, at = space.words, space.sources
        results = []
        for leaf, like in zip(given, form.states, strict=True):
            if not is_plain(leaf, step.dtype) or leaf.shape != like.shape:
                return None
            results.append(result := empty_like(like))
            if not leaf.is_contiguous():
                return None
            words[at] = leaf.data_ptr()
            words[at + len(given)] = result.data_ptr()
            at += 1
        output = empty_like(form.output)
        x = x.contiguous()
        words[space.inputs] = x.data_ptr()
        words[space.outputs] = output.data_ptr()
        if step.threads > 1:
            words[THREADS] = min(step.threads, get_num_threads())
        enter()(space.address)
        form.free.append(space)
        return output, _rebuild(self._template, iter(results))

    def _is_same(self) -> bool:
        """Are the cell's modules and their attributes those that were compiled?"""
        return all(found.get(name) is module for found, name, module in self._modules) and all(
            len(found) == count and get(found) == values for found, count, get, values in self._facts
        )

    def _begin_again(self) -> None:
        with self._lock:
            self._changes += 1
            self._step, self._forms = None, {}
            if self._changes > MOST_CHANGES:
                self._reason = "the cell's attributes keep changing"

    def _bind(self, space: Space, pointers: list[int]) -> bool:
        try:
            with torch.inference_mode(False), torch.no_grad():
                space.stays = space.bind([found[name] for found, name in self._tensors])
        except (CannotCompileError, RuntimeError):
            return False
        space.pointers = pointers
        return True

    def _make_form(self, step: CompiledStep, rows: int) -> _Form:
        with torch.inference_mode(False):
            states = [leaf.new_empty(rows, *leaf.shape[1:]) for leaf in named_leaves(self._template).values()]
            shape = step.split.recording.shapes[step.split.recording.output][1:]
            inputs = torch.Size((rows, *step.split.recording.shapes[step.split.recording.inputs[0]][1:]))
            form = self._forms[rows] = _Form(inputs, torch.empty(rows, *shape, dtype=step.dtype), states)
        return form

    def _compile(self, x: Tensor, state: Any) -> bool:
        with self._lock:
            if self._step is not None:
                return True
            try:
                with torch.inference_mode(False), torch.no_grad():
                    # a copy: what is kept must not keep the caller's tensors alive
                    self._template = map_leaves(lambda leaf: leaf.new_zeros(2, *leaf.shape[1:]), state)
                    self._look()
                    step = compile_step(self._cell, x.new_zeros(1, 2, *x.shape[1:]), self._template, self._small)
                    self._tensors = [_place(self._cell, path) for path in step.paths]
                    self._try(step, x)
            except Exception as error:  # a user's step may hold anything; the ordinary way tells what is wrong with it
                self._reason = str(error) or type(error).__name__
                return False
            self._step = step
            return True

    def _look(self) -> None:
        """Note what the step may depend on besides tensors."""
        self._modules, self._facts = [], []
        for module in self._cell.modules():
            found = vars(module)
            self._modules += [(module._modules, name, child) for name, child in module._modules.items() if child]
            names = [n for n, v in found.items() if isinstance(v, (bool, int, float, str, type(None)))]
            get = itemgetter("training", *names)
            self._facts.append((found, len(found), get, get(found)))

    def _try(self, step: CompiledStep, x: Tensor) -> None:
        """Take a step on random numbers, both ways.

        Raises: CannotCompileError if the results differ.
        """
        generator = torch.Generator().manual_seed(0)

        def draw(leaf: Tensor) -> Tensor:
            return torch.rand(leaf.shape, dtype=leaf.dtype, generator=generator)

        inputs, state = draw(x.new_empty(2, *x.shape[1:])), map_leaves(draw, self._template)
        self._step = step
        ours = self(inputs, state)
        self._step = None
        theirs = self._cell.step(inputs, state)  # type: ignore[operator]
        if ours is None:
            raise CannotCompileError("the step reads its tensors in a way that is not compiled")
        for mine, other in zip(named_leaves(ours).values(), named_leaves(theirs).values(), strict=True):
            if not torch.allclose(mine, other, rtol=CLOSE[step.dtype], atol=CLOSE[step.dtype], equal_nan=True):
                raise CannotCompileError("compiled, the step gives other results")


def _place(cell: nn.Module, path: str) -> tuple[dict[str, Any], str]:
    """Return the dictionary in which a cell keeps a tensor, and its name there."""
    *modules, name = path.split(".")
    for module in modules:
        cell = cell._modules[module]  # type: ignore[assignment]
    for found in (cell._parameters, cell._buffers):
        if found.get(name) is not None:
            return found, name
    return vars(cell), name


def _flatten(template: Any, tree: Any, leaves: list[Tensor]) -> bool:
    """Append the leaves of a tree to a list; False if it is built in another way than the template."""
    if type(tree) is Tensor:
        leaves.append(tree)
        return type(template) is Tensor
    if type(tree) is not type(template) or len(tree) != len(template):
        return False
    return all(map(_flatten, template, tree, [leaves] * len(tree)))


def _rebuild(template: Any, leaves: Any) -> Any:
    if type(template) is Tensor:
        return next(leaves)
    parts = [_rebuild(branch, leaves) for branch in template]
    return type(template)(*parts) if hasattr(template, "_fields") else tuple(parts)
