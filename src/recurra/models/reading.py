"""What a language model says of a window: scores of the next token, made where they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from recurra.data import Tokenizer

__all__ = ["Reader", "Reading"]


class Reading(NamedTuple):
    """The window as a model has read it, T steps of B rows; no (T, B, V) tensor is ever made of it.

    Args:
        features: (T, B, O) of each step.
        score: makes logits (N, V) of features (N, O).
        mix: changes the logits (N, V) of N steps, numbered t · B + b, (N,) int64, by what else is known of the text.
    """

    features: Tensor
    score: Callable[[Tensor], Tensor]
    mix: Callable[[Tensor, Tensor], Tensor] | None = None

    def logits(self, steps: Tensor) -> Tensor:
        """Return logits (N, V) of the token after each of N steps, numbered t · B + b, (N,) int64."""
        logits = self.score(self.features.flatten(0, 1)[steps])
        return logits if self.mix is None else self.mix(logits, steps)


class Reader(Protocol):
    """What evaluation, scoring and generation ask of a language model; `LanguageModel` documents each."""

    @property
    def vocabulary(self) -> Tokenizer: ...
    @property
    def bias(self) -> Tensor: ...
    @property
    def training(self) -> bool: ...

    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def zero_state(self, batch: int) -> Any: ...
    def read(self, tokens: Tensor, state: Any = None, *, reset: Tensor | None = None) -> tuple[Reading, Any]: ...
    def prefill(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]: ...
    def step(self, token: Tensor, state: Any) -> tuple[Tensor, Any]: ...
