"""Real-time recurrent learning, exact, for cells whose units remember themselves alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from recurra.engine.policies.influence import Influence, advance, check_diagonal, no_influence, spread
from recurra.engine.policies.recompute import check_captured, refilled
from recurra.engine.policy import (
    Captured,
    Policy,
    Segment,
    check_positive,
    join,
    sequence_leaves,
    slice_time,
    time_steps,
)
from recurra.errors import BackpropError
from recurra.state import detach, map_leaves, named_leaves

__all__ = ["Influenced", "Online"]

PIECE = 32
"""Steps that are differentiated together; any number gives the same gradient."""

_diagonal: WeakKeyDictionary[Any, frozenset[str]] = WeakKeyDictionary()
"""Cells that were looked at, and the parameters that were trained then."""


class Influenced(NamedTuple):
    """A state and what parameters have done to it: all that online learning remembers of the past.

    Args:
        state: of the cell.
        influence: for each leaf of the state and each parameter, (B, *shape of the parameter): the derivative of the
            one unit that an entry of the parameter acts on.
    """

    state: Any
    influence: Influence


@dataclass(frozen=True)
class Online(Policy):
    """Real-time recurrent learning: exact gradients of one recurrent layer, with no window and no history.

        J_t = D_t ⊙ J_{t-1} + I_t,    ∂L_t/∂θ = ∂L_t/∂s_t ⊙ J_t

    D_t is the derivative of a unit's state by its last one, I_t that by its parameters. Where units remember
    themselves alone (IndRNN, minGRU, minLSTM, RG-LRU, SRU), J has one entry per row and parameter. Steps are taken 32
    at a time, by ordinary back-propagation inside and through J beyond them.

    A scan begins from a state or an `Influenced` one, and returns the latter: handed on, gradients reach back to where
    it began, whatever was done in between (if parameters were updated, with the J of the old ones, as in all online
    learning). The layer's own parameters and the state that a scan began from have exact gradients. What lies below
    the layer gets those of the same 32 steps alone.

    Args:
        span: time steps per optimizer step when a stream is trained.
    Source: Williams & Zipser 1989; exact for diagonal recurrences Mozer 1989, Irie et al. 2023.
    """

    span: int = PIECE

    def __post_init__(self) -> None:
        check_positive("span", self.span)

    @property
    def memory(self) -> Influences:  # type: ignore[override]
        """Influences in place of a history."""
        return Influences()

    @property
    def within(self) -> tuple[Policy, Policy]:
        """The scan of a span carries the influences."""
        return super().within[0], self

    def check_layers(self, layers: int) -> None:
        """One layer alone: what lower layers have done would need derivatives by all the upper ones' states."""
        if layers > 1:
            raise BackpropError(
                f"online back-propagation is exact for one recurrent layer, and this stack has {layers}; "
                f"take --layers 1 and no attention, or another --backprop such as checkpointed:64MB"
            )

    def start(self, cell: Any, state: Any) -> Influenced:
        """The state, on which nothing has acted yet."""
        return Influenced(state, no_influence(state, [p for p in cell.parameters() if p.requires_grad]))

    def value(self, state: Any) -> Any:
        """The state of the cell."""
        return state.state if isinstance(state, Influenced) else state

    def check(self, cell: Any, inputs: Any) -> None:
        """Check that the units of a cell remember themselves alone.

        Raises: BackpropError with its name if they do not.
        """
        names = frozenset(name for name, parameter in cell.named_parameters() if parameter.requires_grad)
        if torch.is_inference_mode_enabled() or _diagonal.get(cell) == names:
            return
        if any(not parameter.is_leaf for parameter in cell.parameters()):
            raise BackpropError(
                f"online back-propagation carries what the parameters of {type(cell).__name__} have done, and these "
                f"are drawn anew in each window; train without weight drop"
            )
        check_diagonal(cell, map_leaves(lambda leaf: leaf[0], inputs))
        _diagonal[cell] = names

    def __str__(self) -> str:
        return "online" if self.span == PIECE else f"online:{self.span}"


class Influences:
    """Memory that holds what parameters have done to the state, in place of the steps."""

    def fold(self, segment: Segment, sequence: Any, state: Any, captured: Captured) -> tuple[Any, Any]:
        """Run a segment over a sequence; the final state is `Influenced`."""
        if not isinstance(state, Influenced):
            if not torch.is_grad_enabled():
                return segment(sequence, state)
            state = Influenced(state, no_influence(state, captured()))
        else:
            # what was done to it is carried by its influence, and not a second time by its graph
            state = map_leaves(lambda leaf: leaf if leaf.grad_fn is None else leaf.detach(), state)
        run = _Run(segment, sequence, state, tuple(captured()))
        given = [*named_leaves(state.state).values(), *sequence_leaves(sequence), *run.parameters]
        results = iter(_Online.apply(run, *given))
        value, final = refilled(run.value, results), refilled(state.state, results)
        return value, Influenced(final, run.influence)


class _Run:
    """A scan, forward, and forward once more when gradients have come.

    Args:
        slopes: what the state that the scan began from has done to it: [m][n] (B, H), leaf m by leaf n of the first.
    """

    def __init__(self, segment: Segment, sequence: Any, state: Influenced, parameters: tuple[Tensor, ...]) -> None:
        self.segment, self.sequence, self.parameters = segment, sequence, parameters
        self.start = detach(state)
        steps = time_steps(sequence)
        self.spans = [(a, min(a + PIECE, steps)) for a in range(0, steps, PIECE)]
        self.value: Any = None
        self.influence = self.start.influence

    def forward(self) -> tuple[Any, Any]:
        """Leave the final influence in `influence`, and return the outputs and the final state."""
        state, values = self.start.state, []
        for a, b in self.spans:
            piece = slice_time(self.sequence, a, b)
            value, following = self.segment(piece, state)
            self.influence, _ = advance(self.segment, piece, state, self.influence, self.parameters)
            values.append(value)
            state = following
        value = join(values)
        self.value = map_leaves(lambda leaf: leaf.new_empty(0), value)  # its structure; see `recompute`
        return value, state

    def backward(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the gradients of the state, of the sequence and of the parameters, summed up piece by piece."""
        count = len(named_leaves(self.value))
        arriving, finals = gradients[:count], list(gradients[count:])
        state, influence = self.start
        first = list(named_leaves(state).values())
        slopes = [[torch.ones_like(leaf) if n == m else torch.zeros_like(leaf) for n in range(len(first))]
                  for m, leaf in enumerate(first)]  # fmt: skip
        self.into_state = [torch.zeros_like(leaf) for leaf in first]
        self.into_sequence = [torch.zeros_like(g) if g.requires_grad else None for g in sequence_leaves(self.sequence)]
        self.into_parameters = [torch.zeros_like(parameter) for parameter in self.parameters]
        for a, b in self.spans:
            is_last = (a, b) == self.spans[-1]
            coming = [g if g is None or g.ndim == 0 else g[a:b] for g in arriving]
            coming += finals if is_last else [None] * len(first)
            following = self._differentiate((a, b), state, coming, influence, slopes)
            if not is_last:
                piece = slice_time(self.sequence, a, b)
                influence, D = advance(self.segment, piece, state, influence, self.parameters)
                slopes = _times(D, slopes)
            state = following
        return [*self.into_state, *self.into_sequence, *self.into_parameters]

    def _differentiate(
        self,
        span: tuple[int, int],
        state: Any,
        coming: Sequence[Tensor | None],
        influence: Influence,
        slopes: Sequence[Sequence[Tensor]],
    ) -> Any:
        """Run a piece with a graph, add up its gradients, and return the state after it."""
        piece = slice_time(self.sequence, *span)
        starts = [leaf.detach().requires_grad_() for leaf in named_leaves(state).values()]
        given = [g.detach().requires_grad_() if g.requires_grad else g for g in sequence_leaves(piece)]
        with torch.enable_grad():
            value, following = self.segment(refilled(piece, iter(given)), refilled(state, iter(starts)))
        check_captured([value, following], [*starts, *given, *self.parameters])
        results = [*named_leaves(value).values(), *named_leaves(following).values()]
        reached = [(r, g) for r, g in zip(results, coming, strict=True) if g is not None and r.requires_grad]
        if not reached:
            return detach(following)
        wanted = [*starts, *(g for g in given if g.requires_grad), *self.parameters]
        outputs, arrived = zip(*reached, strict=True)
        found = iter(torch.autograd.grad(outputs, wanted, arrived, allow_unused=True))
        back = [(m, ds) for m, _ in enumerate(starts) if (ds := next(found)) is not None]
        for into, leaf in zip(self.into_sequence, given, strict=True):
            gradient = next(found) if leaf.requires_grad else None
            if into is not None and gradient is not None:
                into[slice(*span)] = gradient
        for number, into in enumerate(self.into_parameters):
            gradient = next(found)
            if gradient is not None:
                into += gradient
            for m, ds in back:
                into += (spread(ds, into.shape) * influence[m][number]).sum(0)
        for n, into in enumerate(self.into_state):
            for m, ds in back:
                into += ds * slopes[m][n]
        return detach(following)


def _times(D: Sequence[Sequence[Tensor]], slopes: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """Return the products, unit by unit, of the leaves' derivatives."""
    size = range(len(D))
    return [[torch.stack([D[m][k] * slopes[k][n] for k in size]).sum(0) for n in size] for m in size]


class _Online(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: _Run, *given: Tensor) -> tuple[Tensor, ...]:
        value, final = run.forward()
        ctx.run = run
        ctx.save_for_backward(*given)
        ctx.set_materialize_grads(False)
        return *named_leaves(value).values(), *(leaf.view_as(leaf) for leaf in named_leaves(final).values())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # torch checks that nothing was modified
        found = ctx.run.backward(gradients)
        return (None, *(g if wanted else None for g, wanted in zip(found, ctx.needs_input_grad[1:], strict=True)))
