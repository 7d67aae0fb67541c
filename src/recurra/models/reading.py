"""What a language model says of a window: scores of the next token, made where they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from recurra.data import Tokenizer
    from recurra.models.language_model import LanguageModel

__all__ = ["Reader", "Reading", "Wrapped"]


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
        return self.mixed(self.score(self.features.flatten(0, 1)[steps]), steps)

    def mixed(self, logits: Tensor, steps: Tensor) -> Tensor:
        """Return what becomes of the model's own logits (N, V) of N steps."""
        return logits if self.mix is None else self.mix(logits, steps)


class Reader(Protocol):
    """What evaluation, scoring and generation ask of a language model, or of one behind something."""

    @property
    def vocabulary(self) -> Tokenizer:
        """The tokenizer."""

    @property
    def bias(self) -> Tensor:
        """A parameter, whose device is the model's."""

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""

    def train(self, mode: bool = True) -> Any:
        """Put it into training mode, or out of it."""

    def eval(self) -> Any:
        """Put it into evaluation mode."""

    def zero_state(self, batch: int) -> Any:
        """Return the state that a fresh stream starts from, B rows."""

    def read(self, tokens: Tensor, state: Any = None, *, reset: Tensor | None = None) -> tuple[Reading, Any]:
        """Read a window (T, B)."""

    def prefill(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read a prompt (T, B): logits (B, V) of the token after its last, and the state there."""

    def step(self, token: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read one token per row: token (B,) int64 and B rows -> logits (B, V), next state."""


class Wrapped(Reader):
    """A language model behind something: what is the model's own.

    Args:
        model: shared, not copied.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    @property
    def vocabulary(self) -> Tokenizer:
        """The tokenizer."""
        return self.model.vocabulary

    @property
    def bias(self) -> Tensor:
        """The output layer's, whose device is the model's."""
        return self.model.bias

    def generate(self, prompt: str = "", **settings: Any) -> str:
        """Continue a prompt; as `LanguageModel.generate`."""
        from recurra.models.generation import generate_text

        return "".join(generate_text(self, prompt, **settings))
