"""Surprisal of tokens as they come: the state is carried, and memory does not grow with the stream."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from recurra.errors import ConfigError
from recurra.layers import row_pieces
from recurra.models import Reader
from recurra.models.modes import evaluating
from recurra.state import select

__all__ = ["Scored", "StreamScorer"]

ROW = 2048
"""Tokens of its own that each of several rows reads, or twice the warm-up if that is more."""
STEP_TOKENS = 4096
"""Tokens whose features are held together where rows stand side by side."""


class Scored(NamedTuple):
    """N tokens of a stream, in order, and how surprising each was; of the very first, which nothing precedes, nan.

    Args:
        ids: (N,) the tokens.
        bits: (N,) -log2 p(token | all before it).
        alternatives: (N, K) ids of the most likely tokens at each position, best first.
        alternative_bits: (N, K) their surprisal.
    """

    ids: NDArray[np.int64]
    bits: NDArray[np.float64]
    alternatives: NDArray[np.int64]
    alternative_bits: NDArray[np.float64]


class StreamScorer:
    """Scores a stream that is given bit by bit; how it is cut changes nothing.

    Args:
        model: a language model, or one behind a cache.
        alternatives: how many of the most likely tokens to report at each position.
        window: tokens that one row reads at once; changes nothing but speed.
        batch: rows to read side by side, for speed. Each but the first of a block starts from a fresh state, so results
            come a block later, and differ a little.
        warmup: tokens before its own that each such row reads first, unscored.
    Raises: ConfigError for a warm-up without rows.
    """

    def __init__(
        self, model: Reader, *, alternatives: int = 0, window: int = 2048, batch: int = 1, warmup: int = 0
    ) -> None:
        if warmup and batch == 1:
            raise ConfigError("a warm-up is for the rows of a batch, and one stream has none; give a batch, too")
        self.model, self.window, self.batch, self.warmup = model, window, batch, warmup
        self.alternatives = min(alternatives, len(model.vocabulary))
        self._device = model.bias.device
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next token begins another stream."""
        self._state: Any = None
        self._ids = np.zeros(0, np.int64)
        """The last token that was scored, which is the next to be read, and those not scored yet."""
        self._fresh = np.zeros(0, np.bool_)
        self._begun = False

    def feed(self, ids: NDArray[Any], *, fresh: NDArray[np.bool_] | None = None) -> Scored:
        """Return what can be scored by now: all tokens up to these, or of a batch, all of its full blocks.

        Args:
            ids: (N,) the next tokens.
            fresh: (N,) true where the state is forgotten before a token is read, as at an end of text.
        """
        results = []
        first = not self._begun and len(ids) > 0
        self._ids = np.concatenate([self._ids, np.asarray(ids, np.int64)])
        self._fresh = np.concatenate([self._fresh, np.zeros(len(ids), np.bool_) if fresh is None else fresh])
        if first:
            self._begun = True
            results.append(self._unpredicted(self._ids[:1]))
        own = max(ROW, 2 * self.warmup)
        with torch.inference_mode(), evaluating(self.model):
            if self.batch == 1:
                results += self._take_row()
            else:
                while len(self._ids) - 1 >= self.warmup + self.batch * own:
                    results.append(self._take_block(own))
        return self._join(results)

    def finish(self) -> Scored:
        """Return the rest of what was given; the stream may go on nevertheless."""
        results = []
        with torch.inference_mode(), evaluating(self.model):
            if self.batch > 1:
                own = (len(self._ids) - 1 - self.warmup) // self.batch
                if own > self.warmup:
                    results.append(self._take_block(own))
            results += self._take_row()
        return self._join(results)

    def _take_row(self) -> list[Scored]:
        """Score all that is there in one row."""
        results = []
        while len(self._ids) > 1:
            steps = min(self.window, len(self._ids) - 1)
            inputs, fresh = torch.from_numpy(self._ids[:steps]).unsqueeze(1), self._fresh[:steps, None]
            bits, best, best_bits = self._read(inputs, fresh, self._ids[1 : steps + 1], np.arange(steps))
            results.append(Scored(self._ids[1 : steps + 1], bits, best, best_bits))
            self._ids, self._fresh = self._ids[steps:], self._fresh[steps:]
        return results

    def _take_block(self, own: int) -> Scored:
        """Score a block in rows that overlap by the warm-up; the first goes on from the state, and has none."""
        B, W = self.batch, self.warmup
        total = W + B * own
        reads = np.arange(W + own)[:, None] + own * np.arange(B)  # row b reads what begins at b * own
        inputs, targets, fresh = self._ids[reads], self._ids[reads + 1], self._fresh[reads]
        fresh[0, 1:] = True
        counted = np.ones((W + own, B), np.bool_)
        counted[:W, 1:] = False
        if self._state is not None:
            self._state = select(self._state, torch.zeros(B, dtype=torch.long, device=self._device))
        found = []
        for start in range(0, W + own, max(1, STEP_TOKENS // B)):
            part = slice(start, start + max(1, STEP_TOKENS // B))
            steps = np.flatnonzero(counted[part])
            window = torch.from_numpy(inputs[part])
            found.append(self._read(window, fresh[part], targets[part].flatten()[steps], steps))
        self._state = select(self._state, torch.tensor([B - 1], device=self._device))
        # Found step by step, told row by row.
        time, row = np.nonzero(counted)
        order = np.lexsort((time, row))
        scored = Scored(self._ids[1 : total + 1], *(np.concatenate(each)[order] for each in zip(*found, strict=True)))
        self._ids, self._fresh = self._ids[total:], self._fresh[total:]
        return scored

    def _read(self, inputs: Tensor, fresh: NDArray[np.bool_], targets: NDArray[np.int64], steps: NDArray[Any]) -> Any:
        """Read a window (T, B) on from the state; return bits of targets, alternatives, and their bits."""
        mask = torch.from_numpy(np.ascontiguousarray(fresh)).to(self._device) if fresh.any() else None
        reading, self._state = self.model.read(inputs.to(self._device), self._state, reset=mask)
        chosen, wanted = (torch.from_numpy(array).to(self._device) for array in (steps, targets))
        bits, best, best_bits = [], [], []
        for piece in row_pieces(len(chosen), len(self.model.vocabulary), reading.features.shape[-1]):
            logits = reading.logits(chosen[piece])
            bits.append(cross_entropy(logits, wanted[piece], reduction="none"))
            if self.alternatives:
                top = logits.double().log_softmax(-1).topk(self.alternatives)
                best.append(top.indices)
                best_bits.append(-top.values)
        k = (len(steps), self.alternatives)
        return (
            _numbers(bits, (len(steps),)) / np.log(2),
            _numbers(best, k).astype(np.int64),
            _numbers(best_bits, k) / np.log(2),
        )

    def _unpredicted(self, ids: NDArray[np.int64]) -> Scored:
        k = (len(ids), self.alternatives)
        return Scored(ids, np.full(len(ids), np.nan), np.zeros(k, np.int64), np.full(k, np.nan))

    def _join(self, results: list[Scored]) -> Scored:
        parts = [self._unpredicted(np.zeros(0, np.int64)), *results]
        return Scored(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _numbers(parts: list[Tensor], shape: tuple[int, ...]) -> NDArray[np.float64]:
    return torch.cat(parts).double().cpu().numpy() if parts else np.zeros(shape)
