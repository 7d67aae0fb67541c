"""The recurrent language model: tokens in, a distribution over the next token out, and the state between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from recurra.cells import initialise, make_cell
from recurra.engine import Policy
from recurra.engine.products import product
from recurra.errors import ConfigError
from recurra.layers import LockedDropout, Stack, WindowAttention, projected_cross_entropy
from recurra.layers.regularisation import draw_words, embed, masked
from recurra.layers.stack import StackNoise
from recurra.models.config import ModelConfig, choose_config
from recurra.models.reading import Reading
from recurra.models.stepping import ModelStepper

if TYPE_CHECKING:
    from recurra.data import Tokenizer

__all__ = ["Features", "LanguageModel", "Noise"]


class Features(NamedTuple):
    """What the stack made of a window, (T, B, O): as it left the last layer, and after dropout."""

    raw: Tensor
    dropped: Tensor


class Noise(NamedTuple):
    """What is random in a window and the same at all its steps; None where nothing is dropped.

    Args:
        words: a mask (V,) of embeddings.
        inputs, outputs: masks (1, B, F) before and after the stack.
        stack: of the layers.
    """

    words: Tensor | None
    inputs: Tensor | None
    stack: StackNoise
    outputs: Tensor | None


class LanguageModel(nn.Module):
    """Embedding, a stack of recurrent cells, and a projection onto the vocabulary.

        p(x_{t+1} | x_1 … x_t) = softmax(E h_t + b),    h_t = stack(embedding(x_t), h_{t-1})

    Args:
        vocabulary: the tokenizer; its length is the number of classes V.
        config: settings; or give them one by one as keywords.
    """

    def __init__(self, vocabulary: Tokenizer, config: ModelConfig | None = None, **settings: Any) -> None:
        super().__init__()
        self._stepper: ModelStepper | None = None
        self.config = config = choose_config(ModelConfig, config, settings)
        self.vocabulary = vocabulary
        width = config.embedding or config.hidden
        self.embedding = nn.Embedding(len(vocabulary), width)
        sizes = [width, *[config.hidden] * (config.layers - 1), width if config.tie else config.hidden]
        cells = [make_cell(config.cell, i, o) for i, o in pairwise(sizes)]
        for cell in cells:
            initialise(cell, W=config.init, U=config.recurrent_init)
        window, attention = config.attention_window, None
        if window:
            attention = WindowAttention(_output_size(Stack(cells), width), width, window)
        self.stack = Stack(
            cells,
            residual=config.residual,
            dropout=config.dropout,
            weight_drop=config.weight_drop,
            zoneout=config.zoneout,
            attention=attention,
        )
        self.input_dropout = LockedDropout(config.dropout if config.input_dropout is None else config.input_dropout)
        self.dropout = LockedDropout(config.dropout)
        self.bias = nn.Parameter(torch.zeros(len(vocabulary)))
        self.output_size = size = _output_size(self.stack, width)
        if config.tie and size != width:
            raise ConfigError(f"tied weights need {width} outputs, but {config.cell} gives {size}; use --no-tie")
        self.projection = None if config.tie else nn.Parameter(torch.empty(len(vocabulary), size))
        # Shared with the output layer, the embedding starts small for the first softmax to be near uniform.
        small = 0.06 if config.tie else 1.0
        nn.init.normal_(self.embedding.weight, std=small if config.embedding_std is None else config.embedding_std)
        if self.projection is not None:
            bound = size**-0.5
            nn.init.uniform_(self.projection, -bound, bound)

    def zero_state(self, batch: int, backprop: Policy | None = None) -> Any:
        """Return the state that a fresh stream starts from, B rows, with what a policy carries beside it."""
        return self.stack.zero_state(batch, backprop)

    def draw(self, rows: int) -> Noise:
        """Draw what is random in a window and the same at all its steps, for B rows; nothing in evaluation mode."""
        dropped = self.config.embedding_dropout if self.training else 0.0
        words = draw_words(self.embedding, dropped) if dropped else None
        width = self.embedding.embedding_dim
        like = self.embedding.weight.detach().new_empty(1, rows, 1).expand(1, rows, width)
        inputs, stack = self.input_dropout.draw(like, width), self.stack.draw(like)
        return Noise(words, inputs, stack, self.dropout.draw(like, self.output_size))

    def features(
        self,
        tokens: Tensor,
        state: Any = None,
        *,
        reset: Tensor | None = None,
        backprop: Policy | None = None,
        backend: str | Sequence[str] = "auto",
        noise: Noise | None = None,
    ) -> tuple[Features, Any]:
        """Read a window of tokens.

        Args:
            tokens: (T, B) int64, time first.
            state: carried state of B rows; not mutated. Default: fresh.
            reset: (T, B) bool; where true the row starts afresh before the step.
            backprop, backend: as in `recurra.scan`; a backend for each layer, if there are several.
            noise: from `draw`, for windows that are read piece by piece; default drawn here.
        Returns: (features (T, B, O), the state after the window).
        Gradient: flows into the given state.
        """
        noise = noise or self.draw(tokens.shape[1])
        x = masked(embed(self.embedding, tokens, noise.words), noise.inputs)
        raw, state = self.stack(x, state, reset=reset, backprop=backprop, backend=backend, noise=noise.stack)
        return Features(raw, masked(raw, noise.outputs)), state

    def project(self, features: Tensor) -> Tensor:
        """Return logits (..., V) of features (..., O)."""
        return product(features, self._output_weights(), self.bias)

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the nats of targets (...) int64, summed, given features (..., O); -1 is nothing to predict.

        On a CPU no logits of all tokens are made, and where gradients are recorded, theirs are computed at once.
        """
        features, targets = features.reshape(-1, features.shape[-1]), targets.flatten()
        if getattr(self.project, "__func__", None) is not LanguageModel.project:  # a user's own makes the logits
            return cross_entropy(self.project(features), targets, ignore_index=-1, reduction="sum")
        return projected_cross_entropy(features, self._output_weights(), self.bias, targets)

    def _output_weights(self) -> Tensor:
        return self.embedding.weight if self.projection is None else self.projection

    def forward(self, tokens: Tensor, state: Any = None, *, reset: Tensor | None = None) -> tuple[Tensor, Any]:
        """Return (logits (T, B, V) of each next token, the state after the window); arguments as `features`."""
        features, state = self.features(tokens, state, reset=reset)
        return self.project(features.dropped), state

    def read(self, tokens: Tensor, state: Any = None, *, reset: Tensor | None = None) -> tuple[Reading, Any]:
        """Read a window (T, B) as `step` reads token by token: what evaluation, scoring and prompts go through."""
        features, state = self.features(tokens, state, reset=reset)
        return Reading(features.raw, self.project), state

    def prefill(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read a prompt (T, B) at once: logits (B, V) of the token after its last, and the state there."""
        reading, state = self.read(tokens, state)
        return self.project(reading.features[-1]), state

    def step(self, token: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read one token per row, in constant memory: token (B,) int64 and B rows -> logits (B, V), next state.

        Without dropout, as in evaluation mode; equal to `forward` over the same tokens.
        """
        if not torch.is_grad_enabled():
            if self._stepper is None:
                self._stepper = ModelStepper(self)
            found = self._stepper(token, state)
            if found is not None:
                return found
        output, state = self.stack.step(self.embedding(token), state)
        return self.project(output), state

    def loss(
        self, tokens: Tensor, targets: Tensor, state: Any = None, *, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Return (mean nats per predicted token, state). Targets (T, B) int64; -1 is nothing to predict."""
        features, state = self.features(tokens, state, reset=reset)
        return self.nats(features.dropped, targets) / torch.clamp((targets != -1).sum(), min=1), state

    def grown(self, tokenizer: Tokenizer, **noise: Any) -> LanguageModel:
        """Return a copy for a vocabulary that has grown from this one's, see `recurra.data.Tokenizer.grown`.

        The weights of known tokens are the same bits, so that among those tokens the distribution is what it was. New
        tokens start with the weights of the unknown token, which stood for them, and share its probability once more;
        where there is none, with the mean of all but labels.

        Args:
            tokenizer: has this model's tokens, with the same ids, and others behind them.
            noise: dropout, input_dropout, embedding_dropout or weight_drop that are to be others than they were.
        Raises: VocabularyError if the tokenizer did not grow from the model's; ConfigError for another setting.
        Source: the mean as a start Hewitt 2021.
        """
        from recurra.models.growth import grow

        return grow(self, tokenizer, **noise)

    def layers_from_top(self) -> list[list[nn.Parameter]]:
        """Return the parameters of the output layer (and a tied embedding), the cells downwards, the embedding."""
        from recurra.models.growth import layers_from_top

        return layers_from_top(self)

    def generate(
        self,
        prompt: str = "",
        *,
        tokens: int = 200,
        seed: int = 0,
        stop: str | Sequence[str] = (),
        condition: str | None = None,
        **settings: Any,
    ) -> str:
        """Continue a prompt with up to `tokens` tokens and return the continuation.

        Args:
            stop: a text, or several, at which to stop; they are not part of the result.
            condition: the label of the text, which a model of labelled texts must be told.
            settings: those of `recurra.decoding.Sampler`: temperature, top_k, top_p, min_p, typical, greedy; of
                `recurra.models.Wishes`: repetition_penalty, ban, force, regex, json_schema; and controls of your own.
        Raises: VocabularyError for a prompt with symbols, or a label, that the vocabulary does not hold; ConfigError
            where a label is missing.
        """
        from recurra.models.generation import generate_text

        settings = {"tokens": tokens, "seed": seed, "stop": stop, "condition": condition, **settings}
        return "".join(generate_text(self, prompt, **settings))


@torch.no_grad()
def _output_size(stack: Stack, width: int) -> int:
    """Ask the stack by one step: a cell of the user's own need not tell its sizes."""
    output, _ = stack.step(torch.zeros(1, width), stack.zero_state(1))
    return output.shape[-1]
