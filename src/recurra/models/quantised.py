"""A language model whose matrices stay in one or two bytes per weight."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.engine.products import multiply
from recurra.engine.quantised import split
from recurra.engine.stepper import CellStepper
from recurra.errors import ConfigError
from recurra.models.reading import Reading, Wrapped
from recurra.models.stepping import StepOfModel

if TYPE_CHECKING:
    from recurra.models.language_model import LanguageModel

__all__ = ["QuantisedLanguageModel"]

AT_ONCE = 2**20
"""Weights of the output layer that are float32 at one time, 4 MiB."""


class QuantisedLanguageModel(Wrapped):
    """A language model in few bytes: evaluated, scored with and written with as the model itself.

    It computes what the model with the dequantised weights computes, up to rounding. A step reads the bytes where they
    are, in the compiled step of the engine; a window dequantises the cells for as long as it lasts, and the output
    layer piece by piece. Nothing can be trained.

    Args:
        model: the language model; handed over, as it holds no matrices of its own from now on.
        stored: its tensors by name, from `recurra.engine.quantised.quantise_all`.
    Raises: ConfigError if nothing in it is quantised.
    """

    def __init__(self, model: LanguageModel, stored: Mapping[str, Tensor]) -> None:
        plain, self._small = split(stored)
        if not self._small:
            raise ConfigError("none of the weights is quantised, so there is nothing to save; use the model itself")
        super().__init__(model.eval().requires_grad_(False))
        self._parameters = dict(model.named_parameters())
        self._lock = threading.RLock()
        self._kept = set[str]()
        self._fall_asleep(self._small)
        model.load_state_dict(plain, strict=False)
        self._step = CellStepper(StepOfModel(model), {f"model.{name}": small for name, small in self._small.items()})

    @property
    def output_size(self) -> int:
        """Features O that the output layer reads."""
        return self.model.output_size

    @property
    def weight_bytes(self) -> int:
        """Bytes that all weights take up between two windows."""
        small = [tensor for pair in self._small.values() for tensor in pair if tensor is not None]
        own = [p for name, p in self._parameters.items() if name not in self._small or name in self._kept]
        return sum(tensor.nbytes for tensor in (*small, *own))

    @property
    def training(self) -> bool:
        """Whether the model is in training mode: never."""
        return False

    def train(self, mode: bool = True) -> QuantisedLanguageModel:
        """Stay in evaluation mode. Raises: ConfigError if training mode is asked for."""
        if mode:
            raise ConfigError("weights in few bytes are for inference; train the model that they were made from")
        return self

    def eval(self) -> QuantisedLanguageModel:
        """Stay in evaluation mode."""
        return self

    def zero_state(self, batch: int) -> Any:
        """Return the state that a fresh stream starts from, B rows."""
        return self.model.zero_state(batch)

    def read(self, tokens: Tensor, state: Any = None, *, reset: Tensor | None = None) -> tuple[Reading, Any]:
        """Read a window (T, B) as `step` reads token by token."""
        with self._awake(name for name in self._small if name.startswith("stack.")):
            features, state = self.model.stack(self._embed(tokens), state, reset=reset)
        return Reading(features, self.project), state

    def prefill(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read a prompt (T, B) at once: logits (B, V) of the token after its last, and the state there."""
        reading, state = self.read(tokens, state)
        return self.project(reading.features[-1]), state

    @torch.no_grad()
    def step(self, token: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read one token per row: token (B,) int64 and B rows -> logits (B, V), next state."""
        x = self._embed(token)
        found = self._step(x, state) if self._step.is_compiled else self._first_step(x, state)
        if found is not None:
            return found
        with self._awake(name for name in self._small if name.startswith("stack.")):
            output, state = self.model.stack.step(x, state)
        return self.project(output), state

    @torch.no_grad()
    def project(self, features: Tensor) -> Tensor:
        """Return logits (..., V) of features (..., O)."""
        small = self._small.get("embedding.weight" if self.model.projection is None else "projection")
        if small is None:
            return self.model.project(features)
        rows, bias = features.reshape(-1, features.shape[-1]), self.model.bias
        logits = rows.new_empty(len(rows), len(bias))
        pieces = max(1, AT_ONCE // rows.shape[1])
        for start in range(0, len(bias), pieces):
            piece = slice(start, start + pieces)
            multiply(rows, small.channels(piece).dequantise(), bias[piece], out=logits[:, piece])
        return logits.view(*features.shape[:-1], len(bias))

    def _embed(self, tokens: Tensor) -> Tensor:
        small = self._small.get("embedding.weight")
        if small is None:
            return self.model.embedding(tokens)  # type: ignore[no-any-return]
        if tokens.shape == (1,) and 0 <= (number := int(tokens)) < len(small.values):
            return small.channel(number)
        return small.channels(tokens.flatten()).dequantise().view(*tokens.shape, -1)

    def _first_step(self, x: Tensor, state: Any) -> tuple[Tensor, Any] | None:
        """Take a step while the weights are there in float32, too, to find out how to take it without them."""
        with self._awake(self._small):
            found = self._step(x, state)
            self._kept |= {path.removeprefix("model.") for path in self._step.needed}
            if self._step.reason:
                self._kept |= set(self._small)
        return found

    @contextmanager
    def _awake(self, names: Iterable[str]) -> Iterator[None]:
        """Within it, matrices are in float32 in the model; one thread at a time."""
        with self._lock, torch.inference_mode(False), torch.no_grad():
            names = [name for name in names if name not in self._kept]
            try:
                for name in names:
                    self._parameters[name].data = self._small[name].dequantise()
                yield
            finally:
                self._fall_asleep(name for name in names if name not in self._kept)

    def _fall_asleep(self, names: Iterable[str]) -> None:
        """Let go of matrices; who reads them all the same reads numbers that are none."""
        for name in names:
            parameter = self._parameters[name]
            parameter.data = torch.full((), torch.nan).expand(parameter.shape)
