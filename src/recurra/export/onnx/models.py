"""Cells, stacks, language models, classifiers and taggers as what is exported."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recurra.data.examples import Padded
from recurra.engine import scan
from recurra.errors import ConfigError
from recurra.export.onnx.encoders import write_encoder, write_linear, write_pooling
from recurra.export.onnx.layers import input_size
from recurra.export.onnx.nodes import Nodes
from recurra.export.onnx.subject import LENGTHS, Subject
from recurra.export.torch_layers import to_cells
from recurra.layers import Bidirectional, Stack
from recurra.layers.frontends import TokenFrontend
from recurra.models import LanguageModel, SequenceClassifier, SequenceTagger
from recurra.state import named_leaves

__all__ = ["subject_of"]


def subject_of(module: Any, lengths: bool) -> Subject:
    """Return how a module is exported.

    Args:
        lengths: shall its sequence read where rows end, even if it need not?
    Raises: ConfigError for what cannot be.
    """
    _check_numbers(module)
    if isinstance(module, nn.RNN | nn.GRU | nn.LSTM):
        module = to_cells(module).eval()
    if isinstance(module, LanguageModel):
        return LanguageModelSubject(module, lengths)
    if isinstance(module, SequenceClassifier | SequenceTagger):
        return ReaderSubject(module)
    if isinstance(module, Bidirectional | Stack) or (hasattr(module, "step") and hasattr(module, "zero_state")):
        return RecurrenceSubject(module, lengths)
    raise ConfigError(
        f"{type(module).__name__} is not written as ONNX graphs: cells, stacks, language models, classifiers and "
        "taggers are"
    )


def _check_numbers(module: nn.Module) -> None:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.device.type != "cpu":
            raise ConfigError(f"'{name}' is on {tensor.device}; export the module from the CPU: module.cpu()")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ConfigError(f"'{name}' is {tensor.dtype}, and float32 is exported; use module.float()")
        if not torch.isfinite(tensor).all():
            raise ConfigError(f"'{name}' holds numbers that are not finite; export a model that has learned")


class RecurrenceSubject(Subject):
    """A cell, a stack of them, or layers that read both ways: numbers in, features out."""

    def __init__(self, module: Any, lengths: bool) -> None:
        both = isinstance(module, Bidirectional)
        super().__init__(module, module, lengths or both)
        self.has_step = not both
        self.kind = "layers that read both ways" if both else "stack" if isinstance(module, Stack) else "cell"
        self.width = input_size(module)
        with torch.no_grad():
            self.output_size = self._run(torch.zeros(1, 1, self.width), module.zero_state(1), None)[0].shape[-1]

    def sample(self, generator: np.random.Generator, steps: int, rows: int) -> NDArray[Any]:
        """Draw from a normal distribution."""
        return generator.standard_normal((steps, rows, self.width)).astype(np.float32)

    def compute(self, x: NDArray[Any], state: dict[str, NDArray[Any]], lengths: Tensor | None) -> list[Tensor]:
        """Scan."""
        return self._run(torch.from_numpy(x), self._given(state, x.shape[1]), lengths)

    def _run(self, x: Tensor, state: Any, lengths: Tensor | None) -> list[Tensor]:
        if isinstance(self.module, Stack | Bidirectional):
            output, state = self.module(x, state, lengths=lengths, backend="loop")
        else:
            output, state = scan(self.module, x, state, lengths=lengths, backend="loop")
        return [output, *named_leaves(state).values()]


class LanguageModelSubject(Subject):
    """A language model: tokens in, logits of the next token out."""

    kind, source, result = "language model", "tokens", "logits"
    dtype = np.int64

    def __init__(self, module: LanguageModel, lengths: bool) -> None:
        super().__init__(module, module.stack, lengths)
        self.width = module.embedding.embedding_dim
        self.output_size = len(module.vocabulary)

    @property
    def row(self) -> list[int]:
        """A token is a number."""
        return []

    @property
    def cell(self) -> str:
        """As in the settings."""
        return str(self.module.config.cell)

    def metadata(self) -> dict[str, Any]:
        """The vocabulary, too."""
        tokenizer = self.module.vocabulary
        return super().metadata() | {"tokenizer": tokenizer.kind, "vocabulary": tokenizer.names}

    def read(self, n: Nodes, x: str) -> str:
        """Embed."""
        return str(n.add("Gather", n.number(self.module.embedding.weight.detach().numpy()), x))

    def head(self, n: Nodes, x: str) -> str:
        """Project."""
        return write_linear(n, x, self.module._output_weights(), self.module.bias)

    def sample(self, generator: np.random.Generator, steps: int, rows: int) -> NDArray[Any]:
        """Draw tokens."""
        return generator.integers(0, self.output_size, (steps, rows))

    def compute(self, x: NDArray[Any], state: dict[str, NDArray[Any]], lengths: Tensor | None) -> list[Tensor]:
        """Read as in evaluation mode."""
        model = self.module
        x, before = model.embedding(torch.from_numpy(x)), self._given(state, x.shape[1])
        features, after = model.stack(x, before, lengths=lengths, backend="loop")
        return [model.project(features), *named_leaves(after).values()]


class ReaderSubject(Subject):
    """A classifier or a tagger: whole inputs and their lengths in, logits of the labels out; no state is carried."""

    has_step, result = False, "logits"

    def __init__(self, module: Any) -> None:
        super().__init__(module, None, True)
        self.kind = "classifier" if isinstance(module, SequenceClassifier) else "tagger"
        self.output_size = len(module.target)
        if self._reads_tokens:
            self.source, self.dtype = "tokens", np.int64

    @property
    def _reads_tokens(self) -> bool:
        return isinstance(self.module.encoder.frontend, TokenFrontend)

    @property
    def row(self) -> list[int]:
        """Features of a step, if it is no token."""
        return [] if self._reads_tokens else [self.module.encoder.frontend.mean.numel()]

    @property
    def cell(self) -> str:
        """As in the settings."""
        return str(self.module.config.cell)

    def metadata(self) -> dict[str, Any]:
        """The labels, and the vocabulary of what reads text."""
        told = super().metadata() | {"labels": self.module.target.names}
        if self._reads_tokens:
            input = self.module.input
            told |= {"tokenizer": input.tokenizer.kind, "vocabulary": input.tokenizer.names}
            told |= {"lowercase": input.lowercase}
        return told

    def sequence(self) -> Nodes:
        """Input (T, B, ...) and lengths (B,) -> logits, (B, C) of a classifier and (T, B, C) of a tagger."""
        n, model = Nodes(), self.module
        x = n.input(self.source, ["time", "batch", *self.row], self.dtype)
        outputs, ends = write_encoder(n, model.encoder, x, n.input(LENGTHS, ["batch"], np.int64))
        axes = ["time", "batch"]
        if self.kind == "classifier":
            outputs, axes = write_pooling(n, model.pooling, outputs, ends), ["batch"]
        self._results(n, write_linear(n, outputs, model.output.weight, model.output.bias), axes, [])
        return n

    def sample(self, generator: np.random.Generator, steps: int, rows: int) -> NDArray[Any]:
        """Draw tokens, or numbers like those of the training part."""
        frontend = self.module.encoder.frontend
        if self._reads_tokens:
            tokens: NDArray[Any] = generator.integers(0, frontend.embedding.num_embeddings, (steps, rows))
            return tokens
        drawn = generator.standard_normal((steps, rows, *self.row)) * frontend.std.numpy() + frontend.mean.numpy()
        numbers: NDArray[Any] = drawn.astype(np.float32)
        return numbers

    def compute(self, x: NDArray[Any], state: dict[str, NDArray[Any]], lengths: Tensor | None) -> list[Tensor]:
        """Read as in evaluation mode."""
        logits = self.module(Padded(torch.from_numpy(x), lengths), backend="loop")
        return [logits if self.kind == "tagger" else logits[0]]
