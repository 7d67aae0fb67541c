"""The layers of a model from the top down: how fast, and from when on, each is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch.nn import Parameter

__all__ = ["Layers"]

SLACK = 1e-9
"""Of an epoch, for shares such as a third that binary numbers miss."""


class Layers:
    """Parameters layer by layer from the top down, the rate at which each learns, and gradual unfreezing.

        rate of layer l = rate of the top / decay^l,    trained layers = 1 + ⌊epochs done / unfreeze⌋

    A frozen layer has no gradient, so that no optimizer touches it, and nothing is differentiated below the lowest
    layer that is trained.

    Args:
        parameters: of each layer. Those that the user froze stay so.
        decay: 1 for one rate.
        unfreeze: epochs, or a part of one, until the next layer is trained; 0 for all from the start.
    Source: Howard & Ruder 2018, sections 3.1 and 3.3.
    """

    def __init__(self, parameters: Sequence[Sequence[Parameter]], *, decay: float = 1.0, unfreeze: float = 0.0) -> None:
        trainable = ([p for p in layer if p.requires_grad] for layer in parameters)
        self.parameters = [layer for layer in trainable if layer]
        self.decay = decay
        self.unfreeze = unfreeze

    @property
    def alike(self) -> list[tuple[float, list[Parameter]]]:
        """Return what learns at one rate together, and the share of the highest rate that this is."""
        if self.decay == 1:
            return [(1.0, [p for layer in self.parameters for p in layer])]
        return [(self.decay**-depth, layer) for depth, layer in enumerate(self.parameters)]

    def count(self, epochs: float) -> int:
        """Return how many layers are trained after so many epochs."""
        if not self.unfreeze:
            return len(self.parameters)
        return min(len(self.parameters), 1 + math.floor(epochs / self.unfreeze + SLACK))

    @contextmanager
    def frozen(self, epochs: float) -> Iterator[None]:
        """Keep, inside, the layers from learning that are not yet trained after so many epochs."""
        frozen = [p for layer in self.parameters[self.count(epochs) :] for p in layer]
        try:
            for parameter in frozen:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)
