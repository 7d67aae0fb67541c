"""Control over what is written: functions of the scores that remember what was written before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.decoding.steps import Prefill, Step

__all__ = ["Control", "Controlled", "ControlledState"]


class Control(ABC):
    """Changes the scores of the next token by what it remembers of the tokens before.

    What it remembers is a state like any other, a tree of tensors with the batch axis first, so that it is selected,
    saved and resumed with the model's.
    """

    @abstractmethod
    def start(self, prompt: Tensor) -> Any:
        """Return the state of B rows after a prompt (T, B) int64."""

    @abstractmethod
    def apply(self, logits: Tensor, state: Any) -> Tensor:
        """Return the scores (B, V) to draw from; -inf for a token that must not come.

        Only the last control may add tokens behind the vocabulary, and whoever draws must take them for ends.

        Args:
            logits: (B, V), not mutated.
        """

    def advance(self, state: Any, token: Tensor) -> Any:
        """Return the state after one more token per row, (B,) int64. Default: nothing is remembered."""
        return state


class ControlledState(NamedTuple):
    """The state of a model, and those of its controls."""

    model: Any
    controls: tuple[Any, ...]


class Controlled:
    """A model behind controls: again a step and a prefill, with a state that holds both.

    Args:
        step, prefill: of the model.
        controls: applied in this order, each to the scores that the one before it left.
        vocabulary: number of tokens V that the model knows; what controls add behind them it never reads.
    """

    def __init__(self, step: Step, prefill: Prefill, controls: Sequence[Control], vocabulary: int) -> None:
        self._step, self._prefill = step, prefill
        self.controls = tuple(controls)
        self.vocabulary = vocabulary

    def prefill(self, prompt: Tensor, state: Any) -> tuple[Tensor, ControlledState]:
        """Read a prompt (T, B) from a model's state; the controls begin after it."""
        logits, state = self._prefill(prompt, state)
        states = tuple(control.start(prompt) for control in self.controls)
        return self._apply(logits, states), ControlledState(state, states)

    def step(self, token: Tensor, state: ControlledState) -> tuple[Tensor, ControlledState]:
        """Read one token per row: token (B,) int64 and B rows -> scores (B, V or more), next state."""
        states = tuple(c.advance(s, token) for c, s in zip(self.controls, state.controls, strict=True))
        known = torch.where(token < self.vocabulary, token, torch.zeros_like(token))
        logits, inner = self._step(known, state.model)
        return self._apply(logits, states), ControlledState(inner, states)

    def _apply(self, logits: Tensor, states: tuple[Any, ...]) -> Tensor:
        for control, state in zip(self.controls, states, strict=True):
            logits = control.apply(logits, state)
        return logits
