"""Exact back-propagation through any length in the memory that is given for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.engine.policies.recompute import fold_by_schedule, leaf_of
from recurra.engine.policies.schedule import Cost, Schedule, make_schedule
from recurra.engine.policy import Captured, Policy, Segment, check_positive, sequence_leaves, slice_time, time_steps
from recurra.errors import BackpropError
from recurra.state import map_leaves, named_leaves, num_bytes

__all__ = ["Checkpointed", "Recompute", "parse_bytes"]

PROBES = (4, 8)
"""Steps of the two short runs by which memory is measured."""

BACKWARD_SHARE = 0.5
"""Memory that the backward pass of a segment takes beside what it reads, as a share of that."""

PARAMETER_COPIES = 6
"""Parameters that are held several times over in the meantime: packed for products, and as gradients being summed."""

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Checkpointed(Policy):
    """Exact gradients through every step, in bounded memory: some states are kept, the steps between computed anew.

    For a budget that holds all states, each step is computed twice and backward once: about 4/3 of the time of `Full`.
    Less memory costs more runs, more memory fewer; `plan` says what it will be.

    Args:
        budget: what may be held beyond inputs, outputs and their gradients: bytes, or text such as "64MB" or "1GiB".
        span: time steps per optimizer step when a stream is trained.
    Source: Griewank & Walther 2000; for recurrent networks Gruslys et al. 2016; equal segments Chen et al. 2016.
    """

    budget: int | str
    span: int = 1024

    def __post_init__(self) -> None:
        object.__setattr__(self, "budget", parse_bytes(self.budget))
        check_positive("span", self.span)

    @property
    def memory(self) -> Recompute:  # type: ignore[override]
        """Keeps some, computes the rest."""
        return Recompute(parse_bytes(self.budget))

    @property
    def within(self) -> tuple[Policy, Policy]:
        """The loss is computed anew with the layers; scans inside a segment keep everything."""
        return self, super().within[1]

    def plan(self, segment: Segment, sequence: Any, state: Any, captured: Captured = lambda: ()) -> Schedule:
        """Say what an unrolling will cost, in memory and in computing again; arguments as of `unroll`.

        Raises: BackpropError if the budget cannot work; it names the smallest that can.
        """
        return self.memory.plan(segment, sequence, state, captured)

    def __str__(self) -> str:
        return f"checkpointed:{self.budget}B:{self.span}"


@dataclass(frozen=True)
class Recompute:
    """Memory that holds so many bytes."""

    budget: int

    def fold(self, segment: Segment, sequence: Any, state: Any, captured: Captured) -> tuple[Any, Any]:
        """Run a segment over a sequence by the best schedule for the budget."""
        if not torch.is_grad_enabled():
            return segment(sequence, state)
        schedule = self.plan(segment, sequence, state, captured)
        if schedule.taped == schedule.segments:
            return segment(sequence, state)
        return fold_by_schedule(segment, sequence, state, captured, schedule)

    def plan(self, segment: Segment, sequence: Any, state: Any, captured: Captured) -> Schedule:
        """Measure what steps and states take, and choose what is kept."""
        steps = time_steps(sequence)
        few, more = (min(probe, steps) for probe in PROBES)
        _taped_bytes(segment, slice_time(sequence, 0, few), state, captured)  # a step that is seen first is recorded
        first = _taped_bytes(segment, slice_time(sequence, 0, few), state, captured)
        second = _taped_bytes(segment, slice_time(sequence, 0, more), state, captured) if more > few else first
        step = (second - first) // (more - few) if more > few else -(-first // few)
        fixed = max(0, first - few * step)
        fixed += PARAMETER_COPIES * sum(tensor.numel() * tensor.element_size() for tensor in captured())
        cost = Cost(num_bytes(state), fixed, max(1, int((1 + BACKWARD_SHARE) * step)))
        return make_schedule(steps, self.budget, cost)


def _taped_bytes(segment: Segment, piece: Any, state: Any, captured: Captured) -> int:
    """Run a segment and count the bytes that its graph holds and that were not there before."""
    state = map_leaves(leaf_of, state)
    known = {
        tensor.untyped_storage().data_ptr()
        for tensor in (*named_leaves(state).values(), *sequence_leaves(piece), *captured())
    }
    held: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            # memory may be lent by a larger piece: what counts is what is used of it
            size = tensor.numel() * tensor.element_size()
            held[tensor.data_ptr()] = max(held.get(tensor.data_ptr(), 0), size)
        return tensor

    devices = [leaf.device for leaf in named_leaves(state).values() if leaf.device.type == "cuda"]
    with (
        torch.random.fork_rng(devices[:1]),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        results = segment(piece, state)  # kept until all is counted, or memory would be used twice
    del results
    return sum(held.values())


def parse_bytes(memory: int | str) -> int:
    """Read a size such as 65536, "64MB" (millions) or "1GiB" (powers of two).

    Raises: BackpropError for anything else.
    """
    if type(memory) is int:
        size = memory
    else:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(memory))
        if found is None or found[2].upper() not in _UNITS:
            raise BackpropError(f"cannot read '{memory}' as a size of memory; write 64MB or 1GiB")
        size = int(float(found[1]) * _UNITS[found[2].upper()])
    if size < 1:
        raise BackpropError(f"the memory of checkpointed back-propagation must be positive, not '{memory}'")
    return size
