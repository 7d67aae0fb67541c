"""Optimizers and learning-rate schedules by name, from torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop, lr_scheduler

from recurra.training.layers import Layers

if TYPE_CHECKING:
    from recurra.training.config import OptimizationConfig

__all__ = ["OPTIMIZERS", "SCHEDULES", "clip_gradients", "make_optimizer", "make_schedule", "scaled_rate"]

WARMUP = 0.05
"""Share of all steps that the cosine schedule takes to reach the full rate."""
CUT = 0.1
"""The same of the slanted one: cut_frac."""
RATIO = 32
"""By how much the slanted one begins and ends below the full rate."""


def _adam(cls: Any) -> Callable[..., Optimizer]:
    return lambda groups, config: cls(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": _adam(AdamW),
    "adam": _adam(Adam),
    "rmsprop": lambda groups, config: RMSprop(groups, lr=config.lr, alpha=config.beta2),
    "sgd": lambda groups, config: SGD(groups, lr=config.lr, fused=True),
}


def make_optimizer(layers: Layers, config: OptimizationConfig) -> Optimizer:
    """Build the optimizer; biases and other vectors are not decayed."""
    groups = []
    for share, parameters in layers.alike:
        matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        groups += [
            {"params": matrices, "weight_decay": config.weight_decay, "lr": config.lr * share},
            {"params": vectors, "weight_decay": 0.0, "lr": config.lr * share},
        ]
    return OPTIMIZERS[config.optimizer]([group for group in groups if group["params"]], config)


def _rates(optimizer: Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def _enough(steps: int) -> int:
    # OneCycleLR divides by the length of its phases: give it room for at least a warm-up of more than one step.
    return max(steps, 2 * int(1 / WARMUP))


def _cosine(optimizer: Optimizer, steps: int) -> Any:
    return lr_scheduler.OneCycleLR(
        optimizer,
        _rates(optimizer),
        total_steps=_enough(steps),
        pct_start=WARMUP,
        div_factor=100,
        final_div_factor=10,
        cycle_momentum=False,
    )


def _onecycle(optimizer: Optimizer, steps: int) -> Any:
    # Smith & Topin 2018, with the numbers that fastai's fit_one_cycle uses: a quarter of the way up from lr/25, down
    # to lr/100,000, momentum the other way round.
    return lr_scheduler.OneCycleLR(
        optimizer, _rates(optimizer), total_steps=_enough(steps), pct_start=0.25, div_factor=25, final_div_factor=4000,
        max_momentum=0.95, cycle_momentum="betas" in optimizer.defaults,
    )  # fmt: skip


def _slanted(optimizer: Optimizer, steps: int) -> Any:
    # Howard & Ruder 2018, eq. 3: a short way up, a long way down, both straight.
    cut = max(1, int(steps * CUT))

    def share(step: int) -> float:
        p = step / cut if step < cut else max(0.0, 1 - (step - cut) / max(1, steps - cut))
        return (1 + p * (RATIO - 1)) / RATIO

    return lr_scheduler.LambdaLR(optimizer, share)


def _constant(optimizer: Optimizer, steps: int) -> Any:
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _plateau(optimizer: Optimizer, steps: int) -> Any:
    return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=1e-3)


SCHEDULES: dict[str, Callable[[Optimizer, int], Any]] = {
    "constant": _constant,
    "cosine": _cosine,
    "onecycle": _onecycle,
    "plateau": _plateau,
    "slanted": _slanted,
}


def make_schedule(optimizer: Optimizer, config: OptimizationConfig, steps: int) -> Any:
    """Build the schedule over `steps` optimizer steps. A plateau schedule is stepped once per validation."""
    return SCHEDULES[config.schedule](optimizer, steps)


def per_step(schedule: Any) -> bool:
    """Return whether a schedule moves every step rather than at every validation."""
    return not isinstance(schedule, lr_scheduler.ReduceLROnPlateau)


def clip_gradients(model: nn.Module, config: OptimizationConfig) -> torch.Tensor:
    """Clip the gradients, entry by entry and then all by their norm, and return the norm () that they had before."""
    parameters = list(model.parameters())
    if not config.clip_value:
        return torch.nn.utils.clip_grad_norm_(parameters, config.clip or math.inf)
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    torch.nn.utils.clip_grad_value_(parameters, config.clip_value)
    torch.nn.utils.clip_grad_norm_(parameters, config.clip or math.inf)
    return norm


@contextmanager
def scaled_rate(optimizer: Optimizer, factor: float) -> Iterator[None]:
    """Multiply the learning rate by a factor inside."""
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        for group in optimizer.param_groups:
            group["lr"] *= factor
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def as_values(optimizer: Optimizer, schedule: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Split the state of both into named tensors and plain values."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": value
        for index, entry in state["state"].items()
        for name, value in entry.items()
        if isinstance(value, torch.Tensor)
    }
    return tensors, {"groups": state["param_groups"], "schedule": schedule.state_dict()}


def restore(optimizer: Optimizer, schedule: Any, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
    """Put back what `as_values` took."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    groups = [{**group, "betas": tuple(group["betas"])} if "betas" in group else group for group in values["groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    schedule.load_state_dict(values["schedule"])
