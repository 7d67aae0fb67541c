"""The decoder: writes a text token by token, looking at what an encoder has read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from recurra.cells import make_cell
from recurra.data.streams import NOTHING
from recurra.engine import Policy
from recurra.engine.products import product
from recurra.layers import ATTENTIONS, LockedDropout, Memory, Stack, projected_cross_entropy, row_pieces
from recurra.layers.regularisation import draw_words, embed
from recurra.models.loss import Loss
from recurra.share import own_rows, whole_rows

__all__ = ["Decoder", "DecoderState", "Reading"]


class DecoderState(NamedTuple):
    """All that the next token depends on; rows can be selected by `recurra.state.select`.

    Args:
        stack: states of the layers.
        memory: places to look at; empty without attention.
        summary: (B, Y) of what was read, seen at every step; empty where it is not.
    """

    stack: tuple[Any, ...]
    memory: Memory | tuple[()] = ()
    summary: Tensor | tuple[()] = ()


class Reading(NamedTuple):
    """What a decoder makes of the tokens that it has read.

    Args:
        features: (T, B, O), or (B, O) of one step.
        weights: (T, B, S) of the places, or (B, S); None without attention.
        state: after the last of them.
    """

    features: Tensor
    weights: Tensor | None
    state: DecoderState


class Decoder(nn.Module):
    """Embedding, a stack of recurrent cells, attention over the places of an encoder, an output layer.

        h_t = stack([embedding(y_{t-1}); summary], h_{t-1})
        c_t = attention(h_t, places)
        h̃_t = tanh(W_c [c_t; h_t])                                                    (Luong et al. 2015, eq. 5)
        p(y_t | y_1 … y_{t-1}) = softmax(E h̃_t + b)

    The stack does not read h̃, so that known texts are read by one scan per layer, and attention looks up all steps at
    once. Without attention, h̃ is h.

    Args:
        vocabulary: number of tokens V.
        end: the token that ends a text, which is also read before its first.
        places: features K of a place; None for no attention.
        summary: features Y of the summary; 0 for none.
        cell, hidden, layers: of the stack.
        embedding: features of a token; default as `hidden`.
        attention: additive or dot.
        tie: share the weights of the embedding and the output layer (Press & Wolf 2017).
        dropout, input_dropout, embedding_dropout, weight_drop: as in `ModelConfig`.
        label_smoothing: ε, share of a target that is spread over the vocabulary in training.
    Source: Sutskever et al. 2014; attention after the recurrence Luong, Pham & Manning 2015; summary Cho et al. 2014.
    """

    def __init__(
        self,
        vocabulary: int,
        end: int,
        *,
        places: int | None,
        summary: int = 0,
        cell: str = "lstm",
        hidden: int = 256,
        layers: int = 1,
        embedding: int | None = None,
        attention: str = "additive",
        tie: bool = False,
        dropout: float = 0.0,
        input_dropout: float | None = None,
        embedding_dropout: float = 0.0,
        weight_drop: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.end = end
        self.label_smoothing = label_smoothing
        self.embedding_dropout = embedding_dropout
        width = embedding or hidden
        self.embedding = nn.Embedding(vocabulary, width)
        last = width if tie and places is None else hidden
        sizes = [width + summary, *[hidden] * (layers - 1), last]
        self.stack = Stack(
            [make_cell(cell, i, o) for i, o in pairwise(sizes)], dropout=dropout, weight_drop=weight_drop
        )
        size = self.stack.output_size
        self.attention = None if places is None else ATTENTIONS[attention](size, places)
        self.combine = None if places is None else nn.Linear(places + size, width if tie else size, bias=False)
        self.output_size = size if self.combine is None else self.combine.out_features
        self.input_dropout = LockedDropout(dropout if input_dropout is None else input_dropout)
        self.dropout = LockedDropout(dropout)
        self.projection = None if tie else nn.Parameter(torch.empty(vocabulary, self.output_size))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        # Shared with the output layer, the embedding starts small for the first softmax to be near uniform.
        nn.init.normal_(self.embedding.weight, std=0.06 if tie else 1.0)
        if self.projection is not None:
            bound = self.output_size**-0.5
            nn.init.uniform_(self.projection, -bound, bound)

    def start(
        self, stack: tuple[Any, ...], places: Tensor, lengths: Tensor | None, summary: Tensor | tuple[()] = ()
    ) -> DecoderState:
        """Return the state before the first token.

        Args:
            stack: states of the layers.
            places: (S, B, K), time first, of which each row has `lengths` (B,), by default all.
            summary: (B, Y).
        """
        memory = () if self.attention is None else self.attention.memory(places, lengths)
        return DecoderState(stack, memory, summary)

    def read(
        self,
        tokens: Tensor,
        state: DecoderState,
        *,
        backprop: Policy | None = None,
        backend: str | Sequence[str] = "auto",
    ) -> Reading:
        """Read tokens (T, B), of which the first is the end; all arguments as in `recurra.scan`."""
        words = draw_words(self.embedding, self.embedding_dropout) if self.training and self.embedding_dropout else None
        x = self.input_dropout(embed(self.embedding, tokens, words))
        if isinstance(state.summary, Tensor):
            x = torch.cat([x, state.summary.expand(len(x), -1, -1)], -1)
        h, stack = self.stack(x, state.stack, backprop=backprop, backend=backend)
        features, weights = self._look(h, state)
        return Reading(self.dropout(features), weights, state._replace(stack=stack))

    def read_one(self, token: Tensor, state: DecoderState) -> Reading:
        """Read one token per row (B,), without dropout; equal to `read` over the same tokens."""
        x = self.embedding(token)
        if isinstance(state.summary, Tensor):
            x = torch.cat([x, state.summary], -1)
        h, stack = self.stack.step(x, state.stack)
        return Reading(*self._look(h, state), state._replace(stack=stack))

    def step(self, token: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Read one token per row: token (B,) int64 and B rows -> logits (B, V) of the next, next state."""
        features, _, state = self.read_one(token, state)
        return self.project(features), state

    def project(self, features: Tensor) -> Tensor:
        """Return logits (..., V) of features (..., O)."""
        return product(features, self._output_weights(), self.bias)

    def loss(
        self,
        targets: Tensor,
        state: DecoderState,
        *,
        sampling: float = 0.0,
        backprop: Policy | None = None,
        backend: str = "auto",
    ) -> Loss:
        """Return the loss of texts (S, B) that are known, -1 past a row's end.

        Args:
            sampling: probability that a token is read as the decoder itself would have drawn it, given the tokens
                before; all are drawn in a first pass without gradients.
        Returns: the nats that are minimised, those of smoothed targets in training. What is correct is counted in
            evaluation mode only, as it takes another product with the output layer.
        Source: scheduled sampling Bengio et al. 2015, in two passes Mihaylova & Martins 2019, Duckworth et al. 2019;
            label smoothing Szegedy et al. 2016.
        """
        tokens = torch.cat([torch.full_like(targets[:1], self.end), targets[:-1].clamp(min=0)])
        if sampling:
            tokens = self._mix(tokens, state, sampling)
        features = self.read(tokens, state, backprop=backprop, backend=backend).features.flatten(0, 1)
        counted = (targets != NOTHING).flatten().nonzero().squeeze(1)
        features, wanted = features.index_select(0, counted), targets.flatten()[counted]
        nats = projected_cross_entropy(features, self._output_weights(), self.bias, wanted)
        count = torch.tensor(len(wanted), device=targets.device)
        if not self.training:
            return Loss(nats, count, (self._choose(features, _most_likely) == wanted).sum())
        if self.label_smoothing:
            nats = nats + self.label_smoothing * self._above_mean(features, wanted)
        return Loss(nats, count)

    def _look(self, h: Tensor, state: DecoderState) -> tuple[Tensor, Tensor | None]:
        if self.attention is None or self.combine is None:
            return h, None
        context, weights = self.attention(h, state.memory)
        return torch.tanh(product(torch.cat([context, h], -1), self.combine.weight)), weights

    def _output_weights(self) -> Tensor:
        return self.embedding.weight if self.projection is None else self.projection

    def _above_mean(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return by how much the logits of targets lie above the mean of all, summed.

        It is all that smoothing adds, ε times, as ``-ln p(v) = ln Σ exp z - z_v`` for the target and all others alike.
        """
        W, b = self._output_weights(), self.bias
        target = (features * nn.functional.embedding(targets, W)).sum() + b[targets].sum()
        return target - (features.sum(0) @ W.mean(0) + len(features) * b.mean())

    @torch.no_grad()
    def _mix(self, tokens: Tensor, state: DecoderState, sampling: float) -> Tensor:
        """Replace tokens (T, B), but not the first, by what is drawn given those before."""
        steps, rows = tokens[1:].shape
        chance = torch.rand(steps, whole_rows(rows), device=tokens.device)
        anywhere = chance < sampling
        replaced = own_rows(anywhere, 1)
        features = self.read(tokens[:-1], state).features[replaced] if steps else None
        if features is None or not bool(anywhere.any()):
            return tokens
        # Which of all that are drawn, in all rows of the batch, are drawn for the rows that are read here.
        numbers = (anywhere.flatten().cumsum(0) - 1).view_as(anywhere)
        ours = own_rows(numbers, 1)[replaced]
        tokens = tokens.clone()
        tokens[1:][replaced] = self._draw(features, int(anywhere.sum()), ours)
        return tokens

    def _draw(self, features: Tensor, count: int, ours: Tensor) -> Tensor:
        """Draw `count` tokens of which `ours` (N,), in rising order, are those of features (N, O): return these.

        The largest logit after noise of Gumbel's distribution is one drawn from their softmax.
        """
        drawn = []
        for piece in row_pieces(count, *self._output_weights().shape):
            noise = _noise(features.new_empty(piece.stop - piece.start, len(self.bias)))
            here = (ours >= piece.start) & (ours < piece.stop)
            drawn.append((self.project(features[here]) - noise[ours[here] - piece.start]).argmax(-1))
        return torch.cat(drawn)

    @torch.no_grad()
    def _choose(self, features: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a token (N,) for each row of features (N, O), from logits that are never all made at once."""
        pieces = row_pieces(len(features), *self._output_weights().shape)
        return torch.cat([choose(self.project(features[piece])) for piece in pieces])


def _noise(like: Tensor) -> Tensor:
    """Return the negative of noise of Gumbel's distribution."""
    return torch.empty_like(like).exponential_().log_()


def _most_likely(logits: Tensor) -> Tensor:
    return logits.argmax(-1)
