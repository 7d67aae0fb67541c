"""An automaton that reads tokens instead of bytes: where each token leads, and how far it is from there to an end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.decoding.automaton import DEAD, START, Automaton

__all__ = ["DONE", "NEVER", "TokenTable"]

DONE = 2
"""The state after the end of a text."""
NEVER = int(np.iinfo(np.int32).max)
"""The distance to an end that cannot be reached."""
MOST_KEPT = 1 << 23
"""Transitions that are kept from the beginning, 64 MB; those of a larger table are computed when they are asked for."""
AT_ONCE = 1 << 21
"""Transitions that are computed together; bounds memory, changes no result."""


class TokenTable:
    """What an automaton says of the tokens of a vocabulary.

    Its S states are `DEAD`, `START`, `DONE` and those that whole tokens lead to.

    Args:
        automaton: over bytes.
        pieces: the bytes of each of V tokens.
        never: ids that no text may hold; nor may it hold tokens without bytes.
    Attributes:
        accepting: (S,) bool, whether a text may end there.
        distance: (S,) int32, the fewest tokens from there to where it may end; `NEVER` if it never may.
        edges: (2, E) int64, states with a token from the first to the second.
    """

    def __init__(self, automaton: Automaton, pieces: Sequence[bytes], never: Sequence[int] = ()) -> None:
        refused = set(never)
        usable = [token for token, piece in enumerate(pieces) if piece and token not in refused]
        self._pieces = _Pieces([pieces[token] for token in usable], np.array(usable, np.int64))
        self._bytes, self._vocabulary = automaton.next, len(pieces)
        # The state of the automaton that each of ours stands for, and the other way round.
        self._inner = np.array([DEAD, START, DEAD], np.int32)
        self._number = np.full(len(automaton.accepting), DEAD, np.int32)
        self._number[START] = START
        kept = self._explore()
        self.accepting = torch.from_numpy(automaton.accepting[self._inner])
        self.accepting[DONE] = True
        self.distance = torch.from_numpy(_distances(self.accepting.numpy(), self.edges))
        # The rows that are there by now, and the place of each state's among them.
        self._place = torch.full((len(self._inner),), -1)
        self._next = torch.empty(0, self._vocabulary, dtype=torch.int32)
        self._needed = torch.empty(0, self._vocabulary, dtype=torch.int32)
        if kept is not None:
            self._add(torch.arange(len(kept)), kept)

    def next(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Return the states (B,) int64 after tokens (B,) int64 below V."""
        places = self._find(states)
        return self._next[places, tokens].long()

    def rows(self, states: Tensor) -> Tensor:
        """Return the states (B, V) int32 after each token, from states (B,) int64."""
        places = self._find(states)
        return self._next.index_select(0, places)

    def needed(self, states: Tensor) -> Tensor:
        """Return the distances (B, V) int32 that each token would leave."""
        places = self._find(states)
        return self._needed.index_select(0, places)

    def walk(self, tokens: Sequence[int]) -> int:
        """Return the state that tokens lead to from the first."""
        state = torch.tensor([START])
        for token in tokens:
            state = self.next(state, torch.tensor([token]))
        return int(state)

    def _find(self, states: Tensor) -> Tensor:
        """Return the places of rows, after adding those that are missing."""
        places = self._place[states]
        if bool((places < 0).any()):
            missing = states[places < 0].unique()
            inner = self._inner[missing.numpy()]
            self._add(missing, self._rows(len(inner), *self._pieces.walk(self._bytes, inner)))
            places = self._place[states]
        return places

    def _add(self, states: Tensor, rows: NDArray[np.int32]) -> None:
        self._place[states] = torch.arange(len(states)) + len(self._next)
        self._next = torch.cat([self._next, torch.from_numpy(rows)])
        self._needed = torch.cat([self._needed, self.distance[torch.from_numpy(rows)]])

    def _explore(self) -> NDArray[np.int32] | None:
        """Find the states and edges that tokens make, and return their rows (S, V), or None for too many."""
        kept: list[NDArray[np.int32]] = []
        edges: list[NDArray[np.int64]] = []
        done = 0
        at_once = max(1, AT_ONCE // max(self._vocabulary, len(self._number)))
        while done < len(self._inner):
            inner = self._inner[done : done + at_once]
            rows, tokens, after = self._pieces.walk(self._bytes, inner)
            reached = np.zeros((len(inner), len(self._number)), np.bool_)
            reached[rows, after] = True
            fresh = np.flatnonzero(reached.any(0) & (self._number == DEAD))
            self._number[fresh] = np.arange(len(fresh)) + len(self._inner)
            self._inner = np.concatenate([self._inner, fresh.astype(np.int32)])
            sources, targets = reached.nonzero()
            edges.append(np.stack([sources + done, self._number[targets]]))
            done += len(inner)
            if len(self._inner) * self._vocabulary <= MOST_KEPT:
                kept.append(self._rows(len(inner), rows, tokens, after))
        self.edges = np.concatenate(edges, 1)
        return np.concatenate(kept) if len(self._inner) * self._vocabulary <= MOST_KEPT else None

    def _rows(
        self, count: int, rows: NDArray[np.int64], tokens: NDArray[np.int64], after: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Return rows (count, V) of our own states, from what the pieces lead to."""
        table = np.full((count, self._vocabulary), DEAD, np.int32)
        table[rows, tokens] = self._number[after]
        return table


class _Pieces:
    """The bytes of tokens, in the order of their first ones."""

    def __init__(self, pieces: list[bytes], tokens: NDArray[np.int64]) -> None:
        order = sorted(range(len(pieces)), key=pieces.__getitem__)
        ordered = [pieces[n] for n in order]
        self._tokens = tokens[order]
        self._lengths = np.array([len(piece) for piece in ordered], np.int64)
        longest = int(self._lengths.max(initial=1))
        joined = b"".join(piece.ljust(longest, b"\0") for piece in ordered)
        self._bytes = np.frombuffer(joined, np.uint8).reshape(-1, longest)
        # Of each first byte, where its tokens start; and behind the last, where they end.
        self._starts = np.searchsorted(self._bytes[:, 0], np.arange(257))

    def walk(
        self, table: NDArray[np.int32], states: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Read every token from each of some states (n,) of an automaton (S, 256).

        Returns: (rows, tokens, states after), of all that the automaton does not refuse.
        """
        first = table[states]
        rows, byte = first.nonzero()
        counts = self._starts[byte + 1] - self._starts[byte]
        # All tokens of each first byte that may come: their places lie side by side.
        places = np.arange(counts.sum()) + np.repeat(self._starts[byte] - counts.cumsum() + counts, counts)
        after, rows = np.repeat(first[rows, byte], counts), np.repeat(rows, counts)
        found = []
        for n in range(1, self._bytes.shape[1] + 1):
            whole = self._lengths[places] == n
            found.append((rows[whole], self._tokens[places[whole]], after[whole]))
            rows, places, after = rows[~whole], places[~whole], after[~whole]
            if not len(places):
                break
            after = table[after, self._bytes[places, n]]
            alive = after != DEAD
            rows, places, after = rows[alive], places[alive], after[alive]
        return tuple(np.concatenate(column) for column in zip(*found, strict=True))  # type: ignore[return-value]


def _distances(accepting: NDArray[np.bool_], edges: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return how many edges each state (S,) is from one that accepts."""
    distance = np.where(accepting, 0, NEVER).astype(np.int32)
    sources, targets = edges
    for length in range(1, len(accepting)):
        # Edges from states that have their distance lead to nothing new.
        open_edges = distance[sources] == NEVER
        sources, targets = sources[open_edges], targets[open_edges]
        nearer = sources[distance[targets] == length - 1]
        if not len(nearer):
            break
        distance[nearer] = length
    return distance
