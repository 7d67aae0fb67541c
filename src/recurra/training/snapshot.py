"""A moment of training as tensors and plain values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recurra.checkpoint import Generation, RunDirectory
from recurra.state import named_leaves
from recurra.training.averaging import WeightAverage
from recurra.training.optimization import as_values, restore
from recurra.training.run import check_fits

__all__ = ["Learning"]


class Learning(NamedTuple):
    """All that changes from step to step beside the carried state and the counters.

    Args:
        model, optimizer, schedule, average: which learn together.
        device: whose random generator is drawn from.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: Any
    average: WeightAverage
    device: torch.device

    def capture(self, state: Any, values: Mapping[str, Any]) -> Generation:
        """Return this moment, with the carried state and values of the trainer's own."""
        tensors, optimizer = as_values(self.optimizer, self.schedule)
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        named |= {f"optimizer.{name}": tensor for name, tensor in tensors.items()}
        named |= {f"average.{name}": tensor for name, tensor in self.average.mean.items()}
        if state is not None:
            named |= {f"state.{name}": leaf for name, leaf in named_leaves(state).items()}
        named["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            named["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return Generation(named, {**values, "optimizer": optimizer})

    def put_back(self, generation: Generation, run: RunDirectory) -> dict[str, Tensor] | None:
        """Go back to a moment, and return the leaves of the carried state by path, None where there was none.

        Raises: RunError if its weights are not those of this model.
        """
        parts: dict[str, dict[str, Tensor]] = {}
        for key, tensor in generation.tensors.items():
            part, name = key.split(".", 1)
            parts.setdefault(part, {})[name] = tensor
        check_fits(self.model, parts.get("model", {}), run)
        self.model.load_state_dict(parts["model"])
        restore(self.optimizer, self.schedule, parts.get("optimizer", {}), generation.values["optimizer"])
        self.average.mean = {name: tensor.to(self.device) for name, tensor in parts.get("average", {}).items()}
        torch.set_rng_state(parts["random"]["cpu"])
        if "cuda" in parts["random"]:
            torch.cuda.set_rng_state(parts["random"]["cuda"], self.device)
        return parts.get("state")
