"""A language model's step as one native call, from a token's features to the logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from recurra.engine.stepper import CellStepper

if TYPE_CHECKING:
    from recurra.models.language_model import LanguageModel

__all__ = ["ModelStepper", "StepOfModel"]


class StepOfModel(nn.Module):
    """Stack and output layer of a model as one cell."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Features (B, E) and a state of B rows -> logits (B, V), next state."""
        output, state = self.model.stack.step(x, state)
        return self.model.project(output), state

    def zero_state(self, batch: int) -> Any:
        """The state of the stack."""
        return self.model.zero_state(batch)


class ModelStepper:
    """What a model keeps for its steps. A copy of the model begins without one."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._step = CellStepper(StepOfModel(model))

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()

    def __call__(self, token: Tensor, state: Any) -> tuple[Tensor, Any] | None:
        """Return (logits (B, V), next state) for token (B,), or None if they must be had the ordinary way."""
        return self._step(self._features(token), state)

    def _features(self, token: Tensor) -> Tensor:
        embedding = self._model.embedding
        weight = embedding._parameters.get("weight")
        # of a single token they lie in memory as they are needed; hooks and renormalisation are the module's own
        is_plain = type(embedding) is nn.Embedding and embedding.max_norm is None and not embedding._forward_hooks
        if is_plain and not embedding._forward_pre_hooks and len(token) == 1 and weight is not None and token.is_cpu:
            number = int(token)
            if 0 <= number < len(weight):
                return weight[number : number + 1]
        features: Tensor = embedding(token)
        return features


def _nothing() -> None:
    return None
