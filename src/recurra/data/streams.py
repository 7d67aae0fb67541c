"""Partitioning a corpus into windows: as a stream whose state is carried, or as independent shuffled windows.

Shapes: T steps, B rows; time first. Position p of the corpus is an input whose target is position p + 1, so each
token but the corpus's first is predicted exactly once per epoch.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.data.store import Tokens
from recurra.errors import CorpusError, StateError
from recurra.share import Share

__all__ = ["NOTHING", "Batch", "RandomStream", "SequentialStream", "Stream", "check_continues"]

NOTHING = -1
"""The target of a step with nothing to predict: not counted, no gradient."""

Positions = NDArray[np.int64]


class Batch(NamedTuple):
    """One window of every row.

    Args:
        inputs: (T, B) int64.
        targets: (T, B) int64, the token after each input; -1 where there is nothing to predict.
        reset: (T, B) bool, true where a row starts afresh before the step; None if it never does.
        row: (B,) int64, which row of the stream each is.
        offset: (B,) int64, position in the corpus of each row's first input.
        following: (B,) int64, the offset that each row's next window must have.
        advance: steps of this window after which the next one begins, and whose state it starts from: all of them, but
            fewer where windows overlap.
        share: which rows of the whole window these are, where several processes read it together; None for all.
        counted: (T,) int64, then, the rows of the whole window that have a target at each step.
    """

    inputs: Tensor
    targets: Tensor
    reset: Tensor | None
    row: Tensor
    offset: Tensor
    following: Tensor
    advance: int
    share: Share | None = None
    counted: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the window with what a model reads on a device."""
        reset = None if self.reset is None else self.reset.to(device)
        return self._replace(inputs=self.inputs.to(device), targets=self.targets.to(device), reset=reset)


class Stream(Sequence[Batch]):
    """Windows by number, each made in constant time, so that training can resume at any of them."""

    def __init__(self, tokens: Tokens, *, rows: int, span: int) -> None:
        if rows < 1 or span < 1:
            raise CorpusError(f"a stream needs at least 1 row and 1 step, not {rows} rows of {span}; raise them")
        self.num_tokens, self.span = len(tokens), span
        self._tokens, self._labelled = tokens, tokens.labelled
        self._part: tuple[int, int] | None = None

    @property
    @abstractmethod
    def rows(self) -> int:
        """Number of rows of every window."""

    def part(self, rank: int, size: int) -> Self:
        """Return the stream of the rows that process `rank` of `size` reads; of the others no token is touched.

        Raises: CorpusError if there are fewer rows than processes.
        """
        if self.rows < size:
            raise CorpusError(
                f"{self.rows} rows cannot be shared by {size} processes; raise the batch, or start fewer processes"
            )
        view = copy.copy(self)
        view._part = rank, size
        return view

    @abstractmethod
    def _window(self, k: int) -> Batch:
        """Make window k, 0 <= k < len."""

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        if isinstance(index, slice):
            return [self._window(k) for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of a stream of {len(self)}")
        return self._window(index % len(self))

    def _batch(
        self, begin: Positions, counted: NDArray[np.bool_], row: Positions, fresh: bool, advance: int | None = None
    ) -> Batch:
        """Read the windows that begin at positions `begin` (B,), counting the steps of the mask (T, B)."""
        advance = len(counted) if advance is None else advance
        steps = np.arange(len(counted))[:, None]
        positions = (begin + steps) % self.num_tokens
        after = (positions + 1) % self.num_tokens
        counted = counted & (~self._tokens.begins(after) if self._labelled else after != 0)
        share, of_all = None, None
        if self._part is not None:
            share, of_all = Share.of(*self._part, len(row)), torch.from_numpy(counted.sum(1))
            begin, row = begin[share.own], row[share.own]
            positions, after, counted = positions[:, share.own], after[:, share.own], counted[:, share.own]
        targets = np.where(counted, self._tokens.take(after), NOTHING)
        reset = self._tokens.begins(positions)
        if fresh:
            reset[0] = True
        return Batch(
            inputs=torch.from_numpy(self._tokens.take(positions)),
            targets=torch.from_numpy(targets),
            reset=torch.from_numpy(reset) if reset.any() else None,
            row=torch.from_numpy(row),
            offset=torch.from_numpy(positions[0]),
            following=torch.from_numpy((begin + advance) % self.num_tokens),
            advance=advance,
            share=share,
            counted=of_all,
        )


class SequentialStream(Stream):
    """The corpus, rotated and cut into rows, where window n + 1 of a row follows window n: its state is carried.

    Rows differ by at most one token; the last window is shorter, and padded where a row has ended. A row's first
    step, the wrap from the corpus's end to its beginning, and the start of a document are resets.

    Args:
        tokens: the corpus, N long.
        rows: B.
        span: T.
        offset: position at which row 0 begins.
        warmup: tokens before its own that each row but the first reads, uncounted; less in a short corpus.
        spans: cuts T' steps into windows (start, first counted, stop), the next beginning where one stops or before;
            default windows of T steps.
    Raises: CorpusError if there are fewer than two tokens for each row.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        rows: int,
        span: int,
        offset: int = 0,
        warmup: int = 0,
        spans: Callable[[int], Iterable[tuple[int, int, int]]] | None = None,
    ) -> None:
        super().__init__(tokens, rows=rows, span=span)
        _check_length(self.num_tokens, rows)
        # Rows overlap by the warm-up, so that all read equally much although row 0 has none.
        self.warmup = min(warmup, self.num_tokens - 2 * rows) if rows > 1 else 0
        each, longer = divmod(self.num_tokens + (rows - 1) * self.warmup, rows)
        self._row = np.arange(rows)
        self._lengths = each + (self._row < longer)
        self._begin = offset + self._row * (each - self.warmup) + np.minimum(self._row, longer)
        self._uncounted = np.where(self._row > 0, self.warmup, 0)
        self._steps = int(self._lengths[0])
        self._spans = None if spans is None else list(spans(self._steps))

    @property
    def rows(self) -> int:
        """B."""
        return len(self._row)

    def __len__(self) -> int:
        return -(-self._steps // self.span) if self._spans is None else len(self._spans)

    def _window(self, k: int) -> Batch:
        start, first, stop = self._span(k)
        steps = np.arange(start, stop)[:, None]
        counted = (steps >= np.maximum(self._uncounted, first)) & (steps < self._lengths)
        following = self._span(k + 1)[0] if k + 1 < len(self) else stop
        return self._batch(self._begin + start, counted, self._row, start == 0, following - start)

    def _span(self, k: int) -> tuple[int, int, int]:
        if self._spans is not None:
            return self._spans[k]
        return k * self.span, k * self.span, min((k + 1) * self.span, self._steps)


class RandomStream(Stream):
    """Independent windows that all start afresh, in shuffled order, cut at a random phase.

    Windows do not overlap. The first and the last of the corpus may be shorter and are padded, as is the last batch.

    Args:
        tokens: the corpus.
        rows: B, windows side by side; fewer if there are not as many.
        span: T, length of a window.
        seed, epoch: what order and phase depend on.
        shuffle: False keeps the corpus's order and cuts from its beginning, for validation.
    Raises: CorpusError if there are fewer than two tokens for each row, or unshuffled fewer than two.
    """

    def __init__(
        self, tokens: Tokens, *, rows: int, span: int, seed: int = 0, epoch: int = 0, shuffle: bool = True
    ) -> None:
        super().__init__(tokens, rows=rows, span=span)
        _check_length(self.num_tokens, rows if shuffle else 1)
        self._random = np.random.default_rng([seed, epoch]) if shuffle else None
        self._inputs = self.num_tokens - 1  # nothing follows the last token
        self._phase = int(self._random.integers(span)) if self._random else 0
        self._count = -(-(self._inputs + (-self._phase) % span) // span)
        self._rows = min(rows, self._count)

    @cached_property
    def _order(self) -> Positions:
        # Drawn when a window is asked for: the length of a stream is often all that is wanted.
        return self._random.permutation(self._count) if self._random else np.arange(self._count)

    @property
    def rows(self) -> int:
        """B, or as many windows as there are."""
        return self._rows

    def __len__(self) -> int:
        return -(-self._count // self._rows)

    def _window(self, k: int) -> Batch:
        chosen = self._order[k * self._rows : (k + 1) * self._rows]
        # Window w covers [w * T - lead, (w + 1) * T - lead), as far as that lies inside the corpus.
        lead = (-self._phase) % self.span
        begin, end = chosen * self.span - lead, np.minimum((chosen + 1) * self.span - lead, self._inputs)
        begin = np.maximum(begin, 0)
        idle = self._rows - len(chosen)
        begin, lengths = np.pad(begin, (0, idle)), np.pad(end - begin, (0, idle))
        counted = np.arange(min(self.span, self._inputs))[:, None] < lengths
        return self._batch(begin, counted, np.pad(chosen, (0, idle), constant_values=-1), fresh=True)


def check_continues(previous: Batch, batch: Batch) -> None:
    """Check that the state after `previous` is the one that `batch` needs.

    Raises: StateError unless every row of `batch` follows the same row of `previous` or starts afresh.
    """
    if previous.row.shape == batch.row.shape:
        follows = (batch.row == previous.row) & (batch.offset == previous.following)
    else:
        follows = torch.zeros_like(batch.row, dtype=torch.bool)
    if batch.reset is not None:
        follows = follows | batch.reset[0]
    if bool(follows.all()):
        return
    b = int(follows.logical_not().nonzero()[0])
    expected = f"position {int(previous.following[b])}" if b < len(previous.row) else "no such row"
    raise StateError(
        f"row {b} goes on at position {int(batch.offset[b])} of the corpus where its state expects {expected}; "
        f"feed the windows of one stream in order, or start from a fresh state"
    )


def _check_length(num_tokens: int, rows: int) -> None:
    if num_tokens < 2 * rows:
        raise CorpusError(
            f"the corpus holds {num_tokens:,} tokens, too few for {rows} rows, which need {2 * rows:,}; "
            f"give a longer text or a smaller batch"
        )
