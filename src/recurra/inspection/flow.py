"""How far back gradients reach: their norm by distance in time, on real text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from recurra.config import check_at_least
from recurra.errors import DivergedError
from recurra.inspection.rates import fit_rate
from recurra.inspection.reading import by_layer, carried_state, quiet, read_prompt, read_tokens, stretches
from recurra.inspection.truncation import TruncationError, measure_truncation
from recurra.models import LanguageModel
from recurra.state import map_leaves, named_leaves

__all__ = ["Flow", "LayerFlow", "PromptFlow", "TruncationError", "flow_by_lag", "measure_flow", "state_gradients"]

LEAST_TOKENS = 3
"""Two steps and a token to predict."""

FADED = 0.01
"""Share of a gradient below which it moves no weight to speak of."""


@dataclass(frozen=True)
class LayerFlow:
    """How a layer's gradient changes on its way back in time.

    Args:
        layer: from 0, the bottom.
        lags: steps k back from the prediction.
        norms: by lag, the median over positions of ‖∂L_t/∂s_{t-k}‖ / ‖∂L_t/∂s_t‖; `low`, `high` the quartiles.
        slope_nats_per_step: of the tail of log norms, where it is a line; None if too few norms are left.
        rate: "vanishing", "neutral" or "exploding".
    """

    layer: int
    lags: list[int]
    norms: list[float]
    low: list[float]
    high: list[float]
    slope_nats_per_step: float | None
    rate: str


@dataclass(frozen=True)
class PromptFlow:
    """What a prediction listens to.

    Args:
        tokens: of the prompt, printable.
        norms: by token, the norm of the loss's gradient at its embedding, in nats per unit of embedding.
        words, word_norms: the same for whole words, split at white space; a word's is the norm over all its tokens.
        predicted: the most probable next token, whose loss it is.
    """

    tokens: list[str]
    norms: list[float]
    words: list[str]
    word_norms: list[float]
    predicted: str


@dataclass(frozen=True)
class Flow:
    """How gradients flow back through a model on a text.

    Args:
        layers: from the bottom up.
        effective_memory: Σ k n_k / Σ n_k in steps, n the norms of the top layer: the mean distance, so to speak, from
            which gradient arrives.
        fades_at: first lag at which the top layer's norm is below 1 % of that at lag 0; None if that is further away
            than was looked.
        truncation: by window, what cutting gradients there costs.
        positions: how many predictions were looked at.
    """

    layers: list[LayerFlow]
    effective_memory: float
    fades_at: int | None
    truncation: list[TruncationError]
    prompt: PromptFlow | None
    positions: int


def measure_flow(
    model: LanguageModel,
    tokens: Any,
    *,
    lags: int = 128,
    positions: int = 32,
    windows: Sequence[int] | None = None,
    prompt: str | None = None,
) -> Flow:
    """Measure how far back the loss of a token reaches, at positions spread evenly over a text.

    L_t is the nats of the real next token at one position. s_{t-k} is the whole state of a layer, all its leaves one
    after the other, as the step has made it: its gradient counts all that follows from it, the layers above included.
    Before the first of the lags each position reads as many tokens again, so that it has a state to carry.

    Args:
        tokens: (N,) int64. In a short text fewer lags and positions are looked at.
        windows: of truncation, see `measure_truncation`; default powers of two up to `lags`.
        prompt: a text to look at by token, see `PromptFlow`.
    Raises: CorpusError for a text of fewer than three tokens; VocabularyError for a prompt that cannot be read;
        DivergedError if the loss is no finite number.
    """
    check_at_least(1, lags=lags, positions=positions)
    ids = read_tokens(model, tokens, least=LEAST_TOKENS)
    lags = min(lags, len(ids) - 1)
    warmup = min(lags, len(ids) - 1 - lags)
    with quiet(model):
        text = stretches(ids, positions, warmup + lags + 1)
        target = text[-1]
        state, read = carried_state(model, text[:warmup]), text[warmup:-1]
        with torch.no_grad():
            inputs = model.embedding(read)
        norms = state_gradients(model.stack, inputs, lambda output: model.nats(output, target), state)
        layers = [flow_by_lag(layer, by_row) for layer, by_row in enumerate(norms)]
        if windows is None:
            windows = [2**n for n in range(lags.bit_length())]
        truncation = measure_truncation(model, ids, windows)
        spoken = None if prompt is None else _measure_prompt(model, prompt)
    top = layers[-1]
    weight = sum(top.norms)
    memory = sum(k * n for k, n in zip(top.lags, top.norms, strict=True)) / weight if weight else 0.0
    fades_at = next((k for k, n in zip(top.lags, top.norms, strict=True) if n < FADED), None)
    return Flow(layers, memory, fades_at, truncation, spoken, text.shape[1])


def state_gradients(
    cell: Any, inputs: Tensor, loss: Callable[[Tensor], Tensor] | None = None, state: Any = None
) -> Tensor:
    """Return the norms of ∂L_t/∂s_{t-k} of any cell, L of the last output; one backward pass gives all.

    Args:
        cell: anything with ``step`` and ``zero_state``; a `Stack` is looked at layer by layer.
        inputs: (T, B, I) float.
        loss: of the last output (B, O), summed over rows, which must not mix them. Default: the output's sum.
        state: of B rows, where to start; default ``cell.zero_state(B)``.
    Returns: (layers, T + 1, B) float64, by lag k = 0 … T; at lag T stands the state that was started from.
    Gradient: none is left anywhere; parameters get no ``.grad``.
    """
    state = cell.zero_state(inputs.shape[1]) if state is None else state
    with torch.enable_grad():
        history = [state := map_leaves(_root, state)]
        output = inputs[0]
        for x in inputs:
            output, state = cell.step(x, state)
            history.append(state)
        value = output.sum() if loss is None else loss(output)
    leaves = [[list(named_leaves(s).values()) for s in by_layer(cell, states)] for states in reversed(history)]
    flat = [leaf for layers in leaves for layer in layers for leaf in layer if leaf.requires_grad]
    found = iter(torch.autograd.grad(value, flat, allow_unused=True) if flat and value.requires_grad else ())
    lags = []
    for layers in leaves:
        squares = [
            sum((_squares(next(found, None), leaf) for leaf in layer if leaf.requires_grad), _squares(None, inputs[0]))
            for layer in layers
        ]
        lags.append(torch.stack(squares))
    return torch.stack(lags, 1).sqrt()


def _root(leaf: Tensor) -> Tensor:
    return leaf.detach().requires_grad_() if leaf.is_floating_point() else leaf


def _squares(gradient: Tensor | None, like: Tensor) -> Tensor:
    """Sum of squares by row, in double precision, where those of a large gradient do not overflow."""
    if gradient is None:
        return torch.zeros(len(like), dtype=torch.float64, device=like.device)
    return gradient.detach().double().flatten(1).square().sum(1)


def flow_by_lag(layer: int, norms: Tensor) -> LayerFlow:
    """Summarise the norms (lags, B) of a layer at several positions, as `state_gradients` returns them.

    Lags are left out from where a norm is no finite number. A position whose loss does not touch the layer's state at
    lag 0, as with a cell that outputs its former state, counts relative to the first lag at which it does.
    Raises: DivergedError if already the first lag is not finite.
    """
    finite = int(norms.isfinite().all(1).long().cumprod(0).sum())
    if not finite:
        raise DivergedError("the gradient of this model's loss is not a finite number; the run has diverged")
    norms = norms[:finite].cpu()
    first = (norms > 0).long().argmax(0, keepdim=True)
    base = norms.gather(0, first)[0]
    touched = norms[:, base > 0] / base[base > 0]
    if not touched.shape[1]:
        touched = torch.zeros(finite, 1, dtype=norms.dtype)
    low, middle, high = torch.quantile(touched, torch.tensor([0.25, 0.5, 0.75], dtype=norms.dtype), dim=1)
    slope, rate = fit_rate(middle)
    return LayerFlow(layer, list(range(finite)), middle.tolist(), low.tolist(), high.tolist(), slope, rate)


def _measure_prompt(model: LanguageModel, prompt: str) -> PromptFlow:
    """The gradient at the blank behind a prompt, where no real token is known: of the most probable one."""
    ids = read_prompt(model, prompt)
    with torch.enable_grad():
        x = model.embedding(ids.unsqueeze(1)).detach().requires_grad_()
        output, _ = model.stack(x)
        logits = model.project(output[-1])
        best = logits.argmax(-1)
        (gradient,) = torch.autograd.grad(cross_entropy(logits, best), x)
    squares = gradient[:, 0].double().square().sum(-1)
    if not bool(squares.isfinite().all()):
        raise DivergedError("the gradient at the end of the prompt is not a finite number; the run has diverged")
    words = _by_word([model.vocabulary.decode_bytes([token]) for token in ids.tolist()], squares.tolist())
    return PromptFlow(
        [model.vocabulary.symbol(token) for token in ids.tolist()],
        squares.sqrt().tolist(),
        [word.decode("utf-8", "replace") for word, _ in words],
        [square**0.5 for _, square in words],
        model.vocabulary.symbol(int(best)),
    )


def _by_word(pieces: list[bytes], squares: list[float]) -> list[tuple[bytes, float]]:
    """Join tokens into words, split at white space, and sum their squares; white space itself counts nothing."""
    words: list[tuple[bytes, float]] = []
    is_open = False
    for piece, square in zip(pieces, squares, strict=True):
        word = piece.strip()
        if is_open and word and not piece[:1].isspace():
            words[-1] = words[-1][0] + word, words[-1][1] + square
        elif word:
            words.append((word, square))
        is_open = bool(word) and not piece[-1:].isspace()
    return words
