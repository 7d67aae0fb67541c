"""Memory that keeps some states and computes the steps between them anew when gradients come back.

The whole of a sequence is one autograd function. Its forward pass runs segment after segment without a graph; its
backward pass goes from the last segment to the first, runs each again with a graph from the state at its beginning, and
takes the gradients. What is random is drawn again from the same state of the generators.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recurra.engine.policies.schedule import Schedule, best_middle
from recurra.engine.policy import Captured, Segment, join, sequence_leaves, slice_time
from recurra.errors import BackpropError
from recurra.state import detach, map_leaves, named_leaves

__all__ = ["check_captured", "fold_by_schedule", "leaf_of", "refilled"]


def fold_by_schedule(
    segment: Segment, sequence: Any, state: Any, captured: Captured, schedule: Schedule
) -> tuple[Any, Any]:
    """Run a segment over a sequence in pieces; arguments and results as in `recurra.engine.backprop.unroll`.

    Gradient: exact, into the state, the sequence and what is captured. A second backward computes everything once more;
    gradients of gradients are found by keeping everything.
    Raises: BackpropError if the segment reads a tensor that requires gradients and is not captured.
    """
    parameters = tuple(captured())
    given = [*named_leaves(state).values(), *sequence_leaves(sequence), *parameters]
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)):
        return _run_pieces(segment, sequence, state, schedule)
    run = _Run(segment, sequence, state, parameters, schedule)
    results = iter(_Recomputed.apply(run, *given))
    return refilled(run.value, results), refilled(state, results)


def _run_pieces(segment: Segment, sequence: Any, state: Any, schedule: Schedule) -> tuple[Any, Any]:
    values = []
    for start, stop in schedule.spans():
        value, state = segment(slice_time(sequence, start, stop), state)
        values.append(value)
    return join(values), state


@dataclass
class _Tape:
    """A segment that was run with a graph: the leaves that it was given, and what it returned."""

    given: list[Tensor]
    state: list[Tensor]
    value: Any
    final: Any


@dataclass
class _Run:
    """A sequence that is gone through, forward and then back.

    Args:
        random: states of the generators before each segment.
        tapes: segments that were taped in the forward pass.
    """

    segment: Segment
    sequence: Any
    state: Any
    captured: tuple[Tensor, ...]
    schedule: Schedule
    random: list[_Generators] = field(default_factory=list)
    tapes: dict[int, _Tape] = field(default_factory=dict)
    value: Any = None

    def __post_init__(self) -> None:
        self.spans = self.schedule.spans()
        self.state = detach(self.state)
        self.kept = _States(self.schedule.states, self.state)
        self.modes = _Autocast.now()
        self.devices = [leaf.device for leaf in named_leaves(self.state).values() if leaf.device.type == "cuda"][:1]

    # -- forward ------------------------------------------------------------------------------------------------------

    def forward(self) -> tuple[Any, Any]:
        """Run all segments and return the joined values and the final state."""
        sweep, untaped = set(self.schedule.sweep()), len(self.spans) - self.schedule.taped
        state, joined = self.state, _Joined(self.schedule.steps)
        for n, (start, stop) in enumerate(self.spans):
            self.random.append(_Generators.now(self.devices, self.random[-1] if self.random else None))
            if n in sweep:
                self.kept.put(n, state)
            if n < untaped:
                value, state = self.segment(slice_time(self.sequence, start, stop), state)
            else:
                tape = self._tape(n, state)
                self.tapes[n] = tape
                value, state = detach(tape.value), detach(tape.final)
            joined.add(value, start, stop)
        # its structure: the results will know this run, and must not be known by it
        self.value = map_leaves(lambda leaf: leaf.new_empty(0), joined.value)
        return joined.value, state

    def _tape(self, n: int, state: Any) -> _Tape:
        """Run a segment with a graph."""
        piece = slice_time(self.sequence, *self.spans[n])
        leaves = [leaf_of(leaf) for leaf in named_leaves(state).values()]
        given = [leaf_of(leaf) if leaf.requires_grad else leaf for leaf in sequence_leaves(piece)]
        with torch.enable_grad():
            value, final = self.segment(refilled(piece, iter(given)), refilled(state, iter(leaves)))
        check_captured([value, final], [*leaves, *given, *self.captured])
        return _Tape(given, leaves, value, final)

    # -- backward -----------------------------------------------------------------------------------------------------

    def backward(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the gradients of the state, of the sequence and of what is captured."""
        try:
            with self.modes.used():
                return self._backward(gradients)
        finally:  # interrupted in the middle, it may be asked once more
            self.tapes.clear()
            self.kept.clear()

    def _backward(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        count = len(named_leaves(self.value))
        self.arriving, self.carried = gradients[:count], list(gradients[count:])
        self.into_sequence = [
            torch.zeros_like(leaf) if leaf.requires_grad else None for leaf in sequence_leaves(self.sequence)
        ]
        self.into_captured: list[Tensor | None] = [None] * len(self.captured)
        untaped = len(self.spans) - len(self.tapes)  # a second time nothing is taped any more
        for n in reversed(range(untaped, len(self.spans))):
            self._step_back(n)
        self._reverse(untaped)
        found = [*self.carried, *self.into_sequence, *self.into_captured]
        # Handed over, not kept: who accumulates them may then take their memory instead of a copy.
        self.arriving, self.carried, self.into_sequence, self.into_captured = [], [], [], []
        return found

    def _reverse(self, count: int) -> None:
        """Step back through the first segments, keeping states as the schedule says."""
        tasks = [(0, count, self.schedule.states)] if count else []
        while tasks:
            first, last, free = tasks.pop()
            if last - first == 1:
                self._step_back(first)
            elif free < 0:  # the states of a part that is done
                self.kept.drop(first)
            elif free == 0:
                for n in reversed(range(first, last)):
                    self._step_back(n, first)
            else:
                middle = first + best_middle(last - first, free)
                if middle not in self.kept:
                    self.kept.put(middle, self._advance(first, middle))
                tasks += [(first, middle, free), (middle, len(self.spans) + 1, -1), (middle, last, free - 1)]

    def _advance(self, first: int, last: int) -> Any:
        """Return the state before segment `last`, from the one that is kept before `first`."""
        state = self.kept.get(first) if first in self.kept else self.state
        with torch.no_grad():
            for n in range(first, last):
                with self.random[n].used():
                    _, state = self.segment(slice_time(self.sequence, *self.spans[n]), state)
        return state

    def _step_back(self, n: int, start: int | None = None) -> None:
        """Take the gradients of a segment, from its tape or one made anew from the state kept before `start`."""
        tape = self.tapes.pop(n, None)
        if tape is None:
            state = self._advance(n if start is None else start, n)
            with self.random[n].used():
                tape = self._tape(n, state)
        a, b = self.spans[n]
        of_value = [g if g is None or g.ndim == 0 else g[a:b] for g in self.arriving]
        results = [*named_leaves(tape.value).values(), *named_leaves(tape.final).values()]
        reached = [
            (result, gradient)
            for result, gradient in zip(results, [*of_value, *self.carried], strict=True)
            if gradient is not None and result.requires_grad
        ]
        wanted = [t for t in (*tape.state, *tape.given, *self.captured) if t.requires_grad]
        found: Iterator[Tensor | None] = iter([None] * len(wanted))
        if reached:
            outputs, coming = zip(*reached, strict=True)
            found = iter(torch.autograd.grad(outputs, wanted, coming, allow_unused=True))
        self.carried = [next(found) if leaf.requires_grad else None for leaf in tape.state]
        for into, leaf in zip(self.into_sequence, tape.given, strict=True):
            gradient = next(found) if leaf.requires_grad else None
            if into is not None and gradient is not None:
                into[a:b] = gradient
        for number, parameter in enumerate(self.captured):
            gradient, total = next(found) if parameter.requires_grad else None, self.into_captured[number]
            if gradient is not None:
                self.into_captured[number] = gradient.clone() if total is None else total.add_(gradient)

    def kept_whole(self, given: Sequence[Tensor]) -> tuple[Any, Any]:
        """Run everything once more with one graph, on what was given: for gradients of gradients."""
        rest = iter(given)
        state = refilled(self.state, rest)
        sequence = refilled(self.sequence, rest)
        with self.random[0].used():
            return _run_pieces(self.segment, sequence, state, self.schedule)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: _Run, *given: Tensor) -> tuple[Tensor, ...]:
        value, final = run.forward()
        ctx.run = run
        ctx.save_for_backward(*given)
        ctx.set_materialize_grads(False)
        # a state that the segment passes through untouched is not the tensor that was given
        return *named_leaves(value).values(), *(leaf.view_as(leaf) for leaf in named_leaves(final).values())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        given = ctx.saved_tensors  # torch checks that nothing was modified
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return (None, *_differentiable(ctx.run, given, gradients, needed))
        found = ctx.run.backward(gradients)
        return (None, *(g if wanted else None for g, wanted in zip(found, needed, strict=True)))


def _differentiable(
    run: _Run, given: Sequence[Tensor], gradients: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    # What was given may itself depend on what is captured: inside, gradients end at it.
    outside, count = _Outside(), len(given) - len(run.captured)
    bounded = [
        _Border.apply(tensor, outside) if wanted and n < count else tensor
        for n, (tensor, wanted) in enumerate(zip(given, needed, strict=True))
    ]
    value, final = run.kept_whole(bounded)
    results = [*named_leaves(value).values(), *named_leaves(final).values()]
    reached = [(r, g) for r, g in zip(results, gradients, strict=True) if g is not None and r.requires_grad]
    sources = [tensor for tensor, wanted in zip(bounded, needed, strict=True) if wanted]
    outputs, coming = zip(*reached, strict=True)
    found = iter(torch.autograd.grad(outputs, sources, coming, create_graph=True, allow_unused=True))
    outside.is_open = True  # gradients of these gradients go all the way
    return [next(found) if wanted else None for wanted in needed]


@dataclass
class _Outside:
    is_open: bool = False


class _Border(torch.autograd.Function):
    """The same tensor; gradients pass once the outside is open."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, outside: _Outside) -> Tensor:
        ctx.outside = outside
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None]:
        return (gradients[0] if ctx.outside.is_open else None), None


class _States:
    """States by number, in memory that is taken once.

    Small tensors that stay, taken one by one between large ones that go, would keep the holes in between from being
    used again: the heap would grow by a segment with each.
    """

    def __init__(self, count: int, like: Any) -> None:
        self._like = like
        self._leaves = [leaf.new_empty(count, *leaf.shape) for leaf in named_leaves(like).values()]
        self._free = list(range(count))
        self._places: dict[int, int] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def put(self, number: int, state: Any) -> None:
        place = self._places[number] = self._free.pop()
        for leaf, value in zip(self._leaves, named_leaves(state).values(), strict=True):
            leaf[place].copy_(value)

    def get(self, number: int) -> Any:
        return refilled(self._like, iter([leaf[self._places[number]] for leaf in self._leaves]))

    def drop(self, number: int) -> None:
        self._free.append(self._places.pop(number))

    def clear(self) -> None:
        for number in list(self._places):
            self.drop(number)


class _Joined:
    """Values of pieces, written where they belong as they come: joining them at the end would hold all twice."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.value: Any = None

    def add(self, value: Any, start: int, stop: int) -> None:
        if self.value is None:
            self.value = map_leaves(lambda v: v.new_zeros((self.steps, *v.shape[1:]) if v.ndim else ()), value)
        for total, piece in zip(named_leaves(self.value).values(), named_leaves(value).values(), strict=True):
            if piece.ndim:
                total[start:stop] = piece
            else:
                total += piece


@dataclass(frozen=True)
class _Generators:
    """States of torch's generators."""

    cpu: Tensor
    cuda: Tensor | None
    device: torch.device | None

    @classmethod
    def now(cls, devices: Sequence[torch.device], previous: _Generators | None) -> _Generators:
        """Read them; one that has not moved since is shared."""
        device = devices[0] if devices else None
        found = cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device else None, device)
        if previous is not None and torch.equal(previous.cpu, found.cpu):
            if found.cuda is None:
                return previous
            return cls(previous.cpu, found.cuda, device)
        return found

    @contextmanager
    def used(self) -> Iterator[None]:
        """Draw from here inside, and go on outside as if nothing had been drawn."""
        with torch.random.fork_rng([self.device] if self.device else []):
            torch.set_rng_state(self.cpu)
            if self.cuda is not None and self.device is not None:
                torch.cuda.set_rng_state(self.cuda, self.device)
            yield


@dataclass(frozen=True)
class _Autocast:
    """The types that torch casts to: (device, is it on, type)."""

    found: tuple[tuple[str, bool, torch.dtype], ...]

    @classmethod
    def now(cls) -> _Autocast:
        kinds = ("cpu", "cuda")
        return cls(tuple((k, torch.is_autocast_enabled(k), torch.get_autocast_dtype(k)) for k in kinds))

    @contextmanager
    def used(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self != self.now():
                for kind, is_on, dtype in self.found:
                    stack.enter_context(torch.autocast(kind, dtype, is_on))
            yield


def leaf_of(tensor: Tensor) -> Tensor:
    """Return the same numbers as a leaf of a graph of their own; whole numbers need no gradient."""
    return tensor.detach().requires_grad_(tensor.is_floating_point() or tensor.is_complex())


def refilled(tree: Any, leaves: Iterator[Tensor]) -> Any:
    """Return a tree of the same structure, in which None may stand for a tensor, with other tensors."""
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return next(leaves)
    branches = [refilled(branch, leaves) for branch in tree]
    return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)


def check_captured(results: Sequence[Any], known: Sequence[Tensor]) -> None:
    """Walk the graph of a segment back: every leaf that it ends at must be known, or its gradient would be lost."""
    found = {id(tensor) for tensor in known}
    tasks = [leaf.grad_fn for tree in results for leaf in named_leaves(tree).values()]
    seen = {tensor.grad_fn for tensor in known}
    while tasks:
        node = tasks.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in found:
            raise BackpropError(
                f"recomputed back-propagation met a tensor {tuple(variable.shape)} that requires gradients and is no "
                f"parameter of the cell: register it as one, or use backprop=Full()"
            )
        tasks += [function for function, _ in node.next_functions]
