"""A moving average of the weights, which is evaluated and kept in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of a model's weights; without a decay it stands aside.

        mean ← d · mean + (1 - d) · weight,    d = min(decay, (step + 1) / (step + 10))

    The decay grows with the steps, so that the random start is soon forgotten.

    Args:
        decay: d in the long run; 0 for no averaging.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.mean = {name: tensor.clone() for name, tensor in model.state_dict().items()} if decay else {}

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights to use: the average, or those of the model."""
        return self.mean or self.model.state_dict()

    def update(self, step: int) -> None:
        """Take in the weights after an optimizer step."""
        if not self.decay:
            return
        decay, current = min(self.decay, (step + 1) / (step + 10)), self.model.state_dict()
        for name, mean in self.mean.items():
            if mean.is_floating_point():
                mean.lerp_(current[name], 1 - decay)
            else:  # a count has no mean
                mean.copy_(current[name])

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the model hold the average for a while."""
        if not self.decay:
            yield
            return
        current = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.mean)
        try:
            yield
        finally:
            self.model.load_state_dict(current)
