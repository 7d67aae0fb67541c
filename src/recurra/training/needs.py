"""What memory training needs, by formula: the largest tensors, and which setting makes each smaller."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from recurra.engine import Checkpointed, Policy
from recurra.layers import Bidirectional, Stack
from recurra.memory import as_size
from recurra.state import named_leaves

if TYPE_CHECKING:
    from recurra.training.trainer import Trainer

__all__ = ["Need", "advise", "batch_shape", "describe_needs", "needs"]

MOMENTS = {"adamw": 2, "adam": 2, "rmsprop": 1, "sgd": 0}
"""Tensors as large as the weights that each optimizer holds."""
SHOWN = 3


class Need(NamedTuple):
    """Something that takes memory.

    Args:
        formula: how many bytes, in words and symbols with their numbers.
        change: the settings that make it smaller.
    """

    bytes: int
    formula: str
    change: str


def needs(model: nn.Module, config: Any, steps: int, rows: int) -> list[Need]:
    """Return what training holds at once, the largest first.

    Args:
        model: may be on torch's device "meta".
        config: settings of training.
        steps, rows: T and B of a batch.
    """
    found = [_weights(model, config), *_kept(model, config.policy, steps, rows), *_logits(model, config, steps, rows)]
    return sorted(found, key=lambda need: -need.bytes)


def _weights(model: nn.Module, config: Any) -> Need:
    parameters = list(model.parameters())
    size = sum(p.numel() for p in parameters)
    copies = 2 + MOMENTS[config.optimizer] + bool(config.average)
    largest = max(parameters, key=lambda p: p.numel())
    name = next(name for name, p in model.named_parameters() if p is largest)
    what = "weights, gradients, moments" + ", average" * bool(config.average)
    shape = " x ".join(f"{n:,}" for n in largest.shape)
    vocabulary = "--vocab or --embedding" if "embedding" in name else "--hidden or --layers"
    return Need(
        copies * size * parameters[0].element_size(),
        f"{what} {copies} x {size:,} numbers, of which {name} has {shape}",
        vocabulary,
    )


def _kept(model: nn.Module, policy: Policy, steps: int, rows: int) -> Iterable[Need]:
    """What the layers leave for the backward pass: of each step and row the gates, state, input, and output twice."""
    parts: list[Any] = [part for part in model.modules() if isinstance(part, Stack | Bidirectional)]
    numbers = sum(_numbers(cell) for part in parts for cell in part.cells)
    if not numbers:
        return
    size = 4 * numbers * steps * rows
    if isinstance(policy, Checkpointed) and size > int(policy.budget):
        yield Need(int(policy.budget), f"steps kept for back-propagation, by --backprop {policy}", "its MEMORY")
        return
    yield Need(
        size,
        f"steps kept for back-propagation {steps:,} steps x {rows:,} rows x {numbers:,} numbers",
        f"--batch ({rows:,}) or --backprop (to checkpointed:{_budget(size)}, or a shorter window)",
    )


def _numbers(cell: Any) -> int:
    """Numbers that a cell keeps per row and step."""
    gates = max((p.shape[0] for p in cell.parameters() if p.ndim == 2), default=0)
    state = sum(leaf.shape[-1] for leaf in named_leaves(cell.zero_state(1)).values())
    hidden = int(getattr(cell, "hidden_size", 0))  # its output, and what dropout or the next layer makes of it
    return gates + state + int(getattr(cell, "input_size", 0)) + 2 * hidden


def _logits(model: nn.Module, config: Any, steps: int, rows: int) -> Iterable[Need]:
    """Logits are held all at once except on a CPU, where they are made in pieces."""
    vocabulary = getattr(model, "vocabulary", None)
    on_the_cpu = next(model.parameters()).device.type in ("cpu", "meta") and config.device != "cuda"
    if vocabulary is not None and not on_the_cpu:
        size = 2 * 4 * steps * rows * len(vocabulary)
        formula = f"logits and their gradient {steps:,} steps x {rows:,} rows x {len(vocabulary):,} tokens"
        yield Need(size, formula, f"--batch ({rows:,}) or --vocab")


def _budget(size: int) -> str:
    """Return a budget a good deal smaller than what is needed now."""
    return f"{2 ** max(0, int(math.log2(max(size, 2**22) / 4 / 2**20)))}MiB"


def describe_needs(found: Sequence[Need]) -> str:
    """Say in a line what takes most, and what to lower."""
    shown = [need for need in found if need.bytes >= 0.05 * found[0].bytes][:SHOWN]
    parts = "; ".join(f"{as_size(need.bytes)} for {need.formula}" for need in shown)
    changes = list(dict.fromkeys(need.change for need in shown))
    return f"it takes about {parts}. Lower {', else '.join(changes)}"


def advise(trainer: Trainer) -> str:
    """Say what a training that ran out of memory needs, what to lower, and where it can go on."""
    stream = trainer.task.stream(getattr(trainer, "epoch", 0))
    shape = batch_shape(stream[min(getattr(trainer, "batch", 0), len(stream) - 1)])
    told = describe_needs(needs(trainer.model, trainer.config, *shape))
    run = trainer.directory
    if run is None or not run.path.exists():
        return told
    return f"{told}; or go on where there is more: the run is saved, recurra train --resume {run.path}"


def batch_shape(batch: Any) -> tuple[int, int]:
    """Return (steps, rows) of a batch of any task: of its largest tensor that has both."""
    tensors = [t for t in _tensors(batch) if t.ndim >= 2]
    if not tensors:
        return 1, 1
    largest = max(tensors, key=torch.Tensor.numel)
    return int(largest.shape[0]), int(largest.shape[1])


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "__dict__"):
        for item in vars(value).values():
            yield from _tensors(item)
