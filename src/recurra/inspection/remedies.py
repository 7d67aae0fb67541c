"""What is known against gradients that vanish or explode, and which of it a run has switched on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from recurra.engine import Truncated
from recurra.engine.policies import RandomWindow, Unbiased
from recurra.training import RunConfig

__all__ = ["Remedy", "remedies_of"]

ADAPTIVE = ("adamw", "adam", "rmsprop")


@dataclass(frozen=True)
class Remedy:
    """A remedy in a run.

    Args:
        on: whether it is in use; None where that cannot be told, as of a cell of the user's own.
        setting: how the run has it, or how to switch it on.
        what: what it does.
        when: when to try it.
    """

    name: str
    on: bool | None
    setting: str
    what: str
    when: str


def remedies_of(config: RunConfig, model: nn.Module, *, gated: bool | None) -> list[Remedy]:
    """List the remedies in the order of the page.

    Args:
        gated: whether the step computes gates, if that was looked at.
    """
    return [*_clipping(config), *_beginning(config), *_cell(config, model, gated), *_training(config)]


def _clipping(config: RunConfig) -> Iterator[Remedy]:
    clip, value = config.training.clip, config.training.clip_value
    yield Remedy(
        "Clipping by norm", clip > 0, f"--clip {clip:g}" if clip else "--clip 1 switches it on",
        "Shrinks a gradient that is longer than a limit, and keeps its direction (Pascanu et al. 2013).",
        "When the loss jumps, or the gradient norm has peaks: it is the first thing against explosion.",
    )  # fmt: skip
    yield Remedy(
        "Clipping by value", value > 0, f"--clip-value {value:g}" if value else "--clip-value 0.1 switches it on",
        "Cuts each entry of a gradient to a range by itself, which also turns its direction.",
        "When single weights, not the whole, receive huge gradients; otherwise clip by norm.",
    )  # fmt: skip


def _beginning(config: RunConfig) -> Iterator[Remedy]:
    model = config.model
    names = {"init": model.init or "", "recurrent": model.recurrent_init or ""}
    yield Remedy(
        "Xavier initialisation", "xavier" in names["init"] + names["recurrent"],
        f"W {model.init}" if model.init else "W as the cell draws it",
        "Draws weights so that signals keep their variance from layer to layer (Glorot & Bengio 2010).",
        "When activations of a deep stack shrink or saturate in the first steps of training.",
    )  # fmt: skip
    yield Remedy(
        "Orthogonal initialisation", "orthogonal" in names["recurrent"],
        f"U {model.recurrent_init}" if model.recurrent_init else "U as the cell draws it",
        "Starts the recurrent matrix with all singular values 1: a step turns the state, and scales it not at all.",
        "When gradients vanish from the first step on, above all in a cell without gates.",
    )  # fmt: skip
    identity = model.cell == "irnn" or "identity" in names["recurrent"]
    yield Remedy(
        "Identity initialisation", identity, "in use" if identity else "--recurrent-init identity switches it on",
        "Starts the recurrent matrix as the identity: to copy the state is the first thing that the network can do.",
        "With ReLU units, for tasks that ask to remember or to sum over many steps.",
    )  # fmt: skip


def _cell(config: RunConfig, model: nn.Module, gated: bool | None) -> Iterator[Remedy]:
    name = config.model.cell
    own = ":" in name
    yield Remedy(
        "ReLU with identity (IRNN)", None if own else name == "irnn", f"cell {name}",
        "A plain recurrent network of rectified units that starts from the identity (Le et al. 2015).",
        "As the simplest network that can carry a sum for long; watch for explosion, and clip.",
    )  # fmt: skip
    bias = _forget_bias(model)
    started = "" if bias is None else f", forget bias {bias:g} at the start"
    yield Remedy(
        "Gates and forget bias", gated, f"cell {name}{started}",
        "Let a state pass a step unchanged; a forget bias of 1 or more starts with the gate open (Gers et al. 2000).",
        "Always, if memory matters: lstm and gru hold on where a plain network forgets.",
    )  # fmt: skip
    normal = "layernorm" in name.replace("_", "").replace("-", "")
    yield Remedy(
        "Layer normalisation", None if own else normal,
        f"cell {name}" if normal else "--cell lstm-layernorm or gru-layernorm switches it on",
        "Brings the sums before each gate to mean 0 and variance 1 at every step (Ba et al. 2016).",
        "When gates saturate or training is sensitive to the learning rate.",
    )  # fmt: skip
    residual = config.model.residual
    yield Remedy(
        "Residual connections", residual, "--residual" if residual else "--residual switches it on",
        "Adds a layer's input to its output, so that gradients have a way around each layer.",
        "In stacks of three layers and more; they do nothing against vanishing along time.",
    )  # fmt: skip


def _training(config: RunConfig) -> Iterator[Remedy]:
    training = config.training
    yield Remedy(
        "Adaptive optimizer", training.optimizer in ADAPTIVE, f"--optimizer {training.optimizer}",
        "Divides each weight's step by the size of its recent gradients, so that small ones still move it.",
        "As a start; it evens out scales between weights, and cannot restore what has vanished.",
    )  # fmt: skip
    policy = training.policy
    cut = isinstance(policy, Truncated | RandomWindow | Unbiased)
    yield Remedy(
        "Truncated back-propagation", cut, f"--backprop {policy}",
        "Cuts the gradient after a window, carries the state on: bounded memory and time (Williams & Peng 1990).",
        "For streams; lengthen the window while the truncation error of section 2 is above 5 %.",
    )  # fmt: skip


def _forget_bias(model: nn.Module) -> float | None:
    """Return the forget gates' bias that the first layer started from, where its cell has one."""
    for module in model.modules():
        value = getattr(module, "forget_bias", None)
        if isinstance(value, float | int):
            return float(value)
    return None
