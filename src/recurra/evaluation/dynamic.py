"""Dynamic evaluation: the weights follow the text, each stretch of it only after it has been scored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from recurra.config import check_at_least
from recurra.data import Batch, SequentialStream, Tokens
from recurra.errors import ConfigError, DivergedError
from recurra.evaluation.gradients import Gradients
from recurra.evaluation.perplexity import Score, predicted_chars
from recurra.models import CachedLanguageModel, LanguageModel
from recurra.models.cached import Cache
from recurra.models.modes import evaluating
from recurra.models.reading import Reading
from recurra.state import detach

__all__ = ["DynamicConfig", "GradientSizes", "evaluate_dynamic", "gradient_sizes", "scores_behind"]

PUBLISHED_SEGMENT = 5
"""Tokens per update that the published rate and decay are for; both grow in proportion to the tokens of an update."""

LONGEST_SEGMENT = 1024
"""The logits of a segment are held together, with their gradient."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class DynamicConfig:
    """Settings of dynamic evaluation; the defaults are those published.

    Args:
        segment: tokens that are scored, and then learned from, together.
        rate: η, of the gradient, per 5 tokens.
        decay: λ, of the way back to the trained weights, per 5 tokens.
        epsilon: ε, added to the size of gradients.
        sample: tokens of the training part that tell the size of gradients, at most. Words that are missing there
            learn too fast: published is all of it, 930,000 of Penn Treebank.
        rows: segments whose gradients are averaged for that.
        seed: of where those rows begin.
    """

    segment: int = PUBLISHED_SEGMENT
    rate: float = 5e-5
    decay: float = 0.002
    epsilon: float = 2e-5
    sample: int = 1_000_000
    rows: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, segment=self.segment, sample=self.sample, rows=self.rows)
        check_at_least(0, rate=self.rate, decay=self.decay, seed=self.seed)
        if self.segment > LONGEST_SEGMENT:
            raise ConfigError(f"'segment' must be at most {LONGEST_SEGMENT:,}, not {self.segment:,}")
        if not 0 < self.epsilon < math.inf:
            raise ConfigError(f"'epsilon' must be above 0, not {self.epsilon}")
        if not max(self.rate, self.decay) < math.inf:
            raise ConfigError("'rate' and 'decay' must be finite")


@dataclass(frozen=True)
class GradientSizes:
    """How large the gradient of each parameter's entries is on the training text: MS, the root of the mean square."""

    MS: tuple[Tensor, ...]

    @property
    def mean(self) -> float:
        """The mean over tensors of their means, as published."""
        return float(torch.stack([size.mean() for size in self.MS]).mean())


def gradient_sizes(
    model: LanguageModel, tokens: Tokens, config: DynamicConfig | None = None, *, progress: Progress | None = None
) -> GradientSizes:
    """Measure the size of gradients on a training text, in evaluation mode.

        MS = sqrt(mean g²),    g the gradient of the mean nats of a batch of rows x segment tokens

    The rows begin at places spread evenly over the text, drawn by the seed, and carry their state.

    Args:
        tokens: what the model was trained on.
        progress: called with (batches done, batches in all).
    Raises: CorpusError if the text is too short.
    Source: Krause et al. 2018, sec. 4, and its published code.
    """
    config = config or DynamicConfig()
    rows = max(1, min(config.rows, len(tokens) // (2 * config.segment)))
    stream = SequentialStream(tokens, rows=rows, span=config.segment, offset=_beginning(tokens, config.seed))
    batches = min(max(1, config.sample // (rows * config.segment)), len(stream))
    device, counted, state = model.bias.device, 0, None
    with evaluating(model), Gradients(model) as gradients:
        squares = [torch.zeros_like(p) for p in gradients.parameters]
        for k in range(batches):
            batch = stream[k].to(device)
            reading, state = model.read(batch.inputs, state, reset=batch.reset)
            state = detach(state)
            if predicted := int((batch.targets >= 0).sum()):
                counted += 1
                loss = model.nats(reading.features, batch.targets) / predicted
                for square, g in zip(squares, gradients.of(loss), strict=True):
                    square.addcmul_(g, g)
            if progress is not None:
                progress(k + 1, batches)
    return GradientSizes(tuple(square.div_(max(counted, 1)).sqrt_() for square in squares))


def evaluate_dynamic(
    model: LanguageModel | CachedLanguageModel,
    tokens: Tokens,
    sizes: GradientSizes,
    config: DynamicConfig | None = None,
    *,
    progress: Progress | None = None,
) -> Score:
    """Score a text as one stream while the model learns from it: every segment first scored, then learned from.

        θ ← θ + λ D (θ_0 - θ) - η g / (MS + ε),    D = min(MS / mean(MS), 1 / λ)

    with g the gradient of the segment's mean nats, η and λ in proportion to its tokens. The state is carried, and no
    gradient goes back beyond the segment. Afterwards, whatever happens, the model is as it was, bit for bit.

    Args:
        model: or a model behind a cache, which then mixes what the adapted model says; it takes no part in learning.
        sizes: of the gradients, from `gradient_sizes` on the training text.
        progress: called with (segments done, segments in all).
    Raises: CorpusError if the text is too short; DivergedError if the weights grow beyond all bounds.
    Source: Krause, Kahembwe, Murray & Renals 2018, with the rule of their published code.
    """
    inner, cache = (model.model, model.cache) if isinstance(model, CachedLanguageModel) else (model, None)
    return scores_behind(inner, tokens, [cache], sizes, config or DynamicConfig(), progress=progress)[0]


def scores_behind(
    model: LanguageModel,
    tokens: Tokens,
    caches: Sequence[Cache | None],
    sizes: GradientSizes,
    config: DynamicConfig,
    *,
    progress: Progress | None = None,
) -> list[Score]:
    """Score a text dynamically behind each of several caches, or none, in one pass: they change nothing learned."""
    started, device, count, state = time.perf_counter(), model.bias.device, 0, None
    tallies = [_Tally(model, cache) for cache in caches]
    stream = SequentialStream(tokens, rows=1, span=config.segment)
    with evaluating(model), Gradients(model) as gradients, _following(gradients, sizes, config) as learn:
        for k in range(len(stream)):
            batch = stream[k].to(device)
            reading, state = model.read(batch.inputs, state, reset=batch.reset)
            state = detach(state)
            targets = batch.targets.flatten()
            steps = (targets >= 0).nonzero().squeeze(1)
            wanted, logits = targets[steps], reading.logits(steps)
            for tally in tallies:
                tally.add(reading, batch, steps, logits.detach(), wanted)
            count += len(steps)
            loss = cross_entropy(logits, wanted)
            if len(steps) and not math.isfinite(loss.item()):
                raise DivergedError(
                    f"the weights grew beyond bounds at token {count:,}; lower the rate {config.rate:g}"
                )
            if len(steps):
                learn(loss, len(steps))
            if progress is not None:
                progress(k + 1, len(stream))
    seconds, chars = time.perf_counter() - started, predicted_chars(model, tokens)
    return [Score(count, tally.nats / count, tally.correct / count, seconds, chars) for tally in tallies]


class _Tally:
    """What a model scores behind a cache, or none."""

    def __init__(self, model: LanguageModel, cache: Cache | None) -> None:
        self.cache = cache
        self.state: Any = None if cache is None else cache.zero_state(1, model.output_size, model.bias.detach())
        self.nats, self.correct = 0.0, 0

    def add(self, reading: Reading, batch: Batch, steps: Tensor, logits: Tensor, wanted: Tensor) -> None:
        """Count what was said (N, V) of the tokens wanted (N,) after the steps of a window."""
        if self.cache is not None:
            window, self.state = self.cache.read(reading, batch.inputs, self.state, reset=batch.reset)
            logits = window.mixed(logits, steps)
        self.nats += float(cross_entropy(logits, wanted, reduction="sum"))
        self.correct += int((logits.argmax(-1) == wanted).sum())


def _beginning(tokens: Tokens, seed: int) -> int:
    return int(torch.randint(max(len(tokens), 1), (1,), generator=torch.Generator().manual_seed(seed)))


@contextmanager
def _following(
    gradients: Gradients, sizes: GradientSizes, config: DynamicConfig
) -> Iterator[Callable[[Tensor, int], None]]:
    """Yield a function that learns from the mean nats of so many tokens; put the parameters back in the end."""
    parameters = gradients.parameters
    if [p.shape for p in parameters] != [size.shape for size in sizes.MS]:
        raise ConfigError("these sizes of gradients are of another model; measure them on this one")
    trained = [p.detach().clone() for p in parameters]
    share = config.segment / PUBLISHED_SEGMENT
    decay, mean = config.decay * share, max(sizes.mean, torch.finfo(torch.float32).tiny)
    # λ D, which pulls back, and η / (MS + ε), both of a whole segment
    pull = [(MS * (decay / mean)).clamp_(max=1.0) for MS in sizes.MS]
    push = [config.rate * share / (MS + config.epsilon) for MS in sizes.MS]

    @torch.no_grad()
    def learn(loss: Tensor, count: int) -> None:
        part = count / config.segment
        for p, start, back, on, g in zip(parameters, trained, pull, push, gradients.of(loss), strict=True):
            p.lerp_(start, back if part == 1 else back * part).addcmul_(on, g, value=-part)

    try:
        yield learn
    finally:
        with torch.no_grad():
            for p, start in zip(parameters, trained, strict=True):
                p.copy_(start)
