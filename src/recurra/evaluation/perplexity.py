"""Loss per token, perplexity and accuracy of a language model on a stream."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from recurra.data import Batch, RandomStream, SequentialStream, Stream, Tokens
from recurra.errors import ConfigError, CorpusError
from recurra.layers import row_pieces
from recurra.models import Reader
from recurra.models.modes import evaluating
from recurra.processes import ALONE, Processes

__all__ = ["Score", "evaluate", "measure", "predicted_chars"]

MAX_TOKENS_AT_ONCE = 4096
"""Tokens whose features are held together; bounds memory, changes nothing else."""


@dataclass(frozen=True)
class Score:
    """What a model scored on a text.

    Args:
        tokens: number of predicted tokens.
        loss_nats: mean over those tokens.
        accuracy: share of tokens that were the most likely one.
        seconds: wall-clock time.
        chars: characters that the predicted tokens stand for, if known.
    """

    tokens: int
    loss_nats: float
    accuracy: float
    seconds: float
    chars: int | None = None

    @property
    def perplexity(self) -> float:
        """exp of the loss; infinite where that overflows."""
        return math.exp(self.loss_nats) if self.loss_nats < 700 else math.inf

    @property
    def bits_per_token(self) -> float:
        """The loss in bits."""
        return self.loss_nats / math.log(2)

    @property
    def bits_per_char(self) -> float | None:
        """Bits over all tokens divided by the characters they stand for."""
        return self.bits_per_token * self.tokens / self.chars if self.chars else None

    def as_mapping(self) -> dict[str, Any]:
        """All numbers by name."""
        return {
            "tokens": self.tokens,
            "loss_nats": self.loss_nats,
            "perplexity": self.perplexity,
            "bits_per_token": self.bits_per_token,
            "bits_per_char": self.bits_per_char,
            "accuracy": self.accuracy,
            "seconds": self.seconds,
        }


def evaluate(
    model: Reader,
    tokens: Tokens,
    *,
    batch: int = 1,
    warmup: int = 0,
    reset_every: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    processes: Processes = ALONE,
) -> Score:
    """Score a text as one stream with its state carried: the result depends on nothing but model and text.

    Every token but the first is predicted exactly once; of labelled texts, every token but the labels.

    Args:
        batch: rows to cut the text into, for speed; each row but the first starts from a fresh state.
        warmup: tokens before its own that each such row reads first, uncounted.
        reset_every: forget the state after every so many tokens, to see what carrying it is worth.
        progress: called with (windows done, windows in all).
        processes: that share the rows; all get the score of all of them.
    Raises: CorpusError if the text is too short to predict anything; ConfigError for options that exclude each other,
        or for `reset_every` where it would forget the labels of texts.
    """
    span = max(1, MAX_TOKENS_AT_ONCE // batch)
    if not isinstance(tokens, Tokens):
        raise CorpusError(f"a model is evaluated on tokens, such as corpus.valid, not on a {type(tokens).__name__}")
    if reset_every is not None and (batch > 1 or warmup):
        raise ConfigError("reset_every already reads many pieces side by side; leave out batch and warmup")
    if reset_every is not None and tokens.labelled:
        raise ConfigError("reset_every forgets the labels of texts, too; leave it out")
    if reset_every is None:
        stream: Stream = SequentialStream(tokens, rows=batch, span=span, warmup=warmup)
    else:
        rows = max(1, MAX_TOKENS_AT_ONCE // reset_every)
        stream = RandomStream(tokens, rows=rows, span=reset_every, shuffle=False)
    chars = predicted_chars(model, tokens)
    return measure(model, stream, chars=chars, progress=progress, processes=processes)


@torch.inference_mode()
def measure(
    model: Reader,
    stream: Sequence[Batch],
    *,
    last_only: bool = False,
    chars: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    processes: Processes = ALONE,
) -> Score:
    """Score a stream of batches, carrying the state from each to the next.

    Args:
        last_only: count only the last step of each window.
        processes: that share the rows of a `recurra.data.Stream`.
    """
    started, device = time.perf_counter(), model.bias.device
    state, total_nats, correct, count = None, 0.0, 0, 0
    with evaluating(model):
        for k, batch in enumerate(_rows_read_here(stream, processes)):
            reset = None if batch.reset is None else batch.reset.to(device)
            reading, state = model.read(batch.inputs.to(device), state, reset=reset)
            targets = batch.targets.to(device).flatten()
            counted = targets >= 0
            if last_only:
                counted[: -batch.inputs.shape[1]] = False
            steps = counted.nonzero().squeeze(1)
            wanted = targets[steps]
            for piece in row_pieces(len(steps), len(model.vocabulary), reading.features.shape[-1]):
                logits = reading.logits(steps[piece])
                total_nats += float(cross_entropy(logits, wanted[piece], reduction="sum"))
                correct += int((logits.argmax(-1) == wanted[piece]).sum())
            count += wanted.numel()
            if progress is not None:
                progress(k + 1, len(stream))
    if processes.several:
        total_nats, *whole = processes.add(total_nats, correct, count)
        correct, count = (int(number) for number in whole)
    count = max(count, 1)
    return Score(count, total_nats / count, correct / count, time.perf_counter() - started, chars)


def _rows_read_here(stream: Any, processes: Processes) -> Sequence[Batch]:
    """Return the stream with the rows that this process reads, which may be none."""
    readers = min(processes.size, stream.rows) if processes.several else 1
    if processes.rank >= readers:
        return ()
    rows: Sequence[Batch] = stream.part(processes.rank, readers) if processes.several else stream
    return rows


def predicted_chars(model: Reader, tokens: Tokens) -> int | None:
    """Return the characters that all tokens but the first, which nothing predicts, stand for."""
    if not tokens.num_chars:
        return None
    return tokens.num_chars - len(model.vocabulary.decode(tokens[:1].tolist()))
