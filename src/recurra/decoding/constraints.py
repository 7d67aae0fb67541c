"""Texts that match: a pattern that holds from the first token to the last, and texts that never come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.config import check_at_least
from recurra.decoding.automaton import DEAD, START, Automaton, automaton_of_pattern, avoiding, both
from recurra.decoding.controls import Control
from recurra.decoding.token_table import DONE, NEVER, TokenTable
from recurra.errors import ConfigError, ShapeError

__all__ = ["BannedTexts", "Constraint", "Matching"]


class Matching(NamedTuple):
    """Where a text is in its pattern.

    Args:
        position: (B,) int64, the state of the automaton.
        remaining: (B,) int64, how many tokens may still come.
    """

    position: Tensor
    remaining: Tensor


class Constraint(Control):
    """Keeps a text to what an automaton accepts, within a number of tokens.

    A token may follow if a match can still be completed after it, within the tokens that remain; so every text ends in
    a match, by the shortest way if need be. Behind the vocabulary's V tokens there is one more, the end, which can be
    drawn where the text matches. Its probability is what the model gives to all tokens that may not follow:

        p(end) = Σ p(v)  over all v that may not follow,    where the text matches,    else 0

    Apply it after other controls: should these leave none of the tokens that may follow, all that may are as likely.

    Args:
        automaton: of the bytes of the text.
        pieces: the bytes of each of the V tokens.
        tokens: how many tokens the text may have at most, the end not counted.
        never: ids that do not belong in a match, such as those of an unknown token and of the end of a document.
    Attributes:
        end: V, which ends a text.
        shortest: the fewest tokens that match; None if no text of this vocabulary does.
    Source: of reading a vocabulary by an automaton, Willard & Louf 2023.
    """

    def __init__(
        self, automaton: Automaton, pieces: Sequence[bytes], *, tokens: int, never: Sequence[int] = ()
    ) -> None:
        check_at_least(1, tokens=tokens)
        self.end, self.tokens = len(pieces), tokens
        self.table = TokenTable(automaton, pieces, never)
        self.shortest = self.missing([])

    @classmethod
    def from_pattern(
        cls,
        pattern: str,
        pieces: Sequence[bytes],
        *,
        tokens: int,
        never: Sequence[int] = (),
        ban: Sequence[str] = (),
        trailing_space: bool = False,
    ) -> Constraint:
        """Keep a text to a regular expression, which it matches from its first character to its last.

        Args:
            ban: texts that it must not hold.
            trailing_space: whether a space behind the match is no part of it, for tokens that bring one.
        """
        automaton = automaton_of_pattern(pattern, trailing_space=trailing_space)
        return cls(both(automaton, avoiding(ban)) if ban else automaton, pieces, tokens=tokens, never=never)

    def missing(self, ids: Sequence[int]) -> int | None:
        """Return how many tokens at least must follow these before a text matches; None if it never can."""
        distance = int(self.table.distance[self.table.walk(ids)])
        return None if distance == NEVER else distance

    def check(self, what: str, ids: Sequence[int] = ()) -> None:
        """Check that there is a text to write.

        Args:
            what: the pattern's name, for the message.
            ids: tokens that the text begins with.
        Raises: ConfigError if none of this vocabulary matches, none that begins like this, or none is short enough.
        """
        if self.shortest is None:
            raise ConfigError(f"no text of this vocabulary matches {what}; look for characters that it does not have")
        missing = self.missing(ids)
        if missing is None:
            raise ConfigError(f"no text that matches {what} begins with the forced text")
        if len(ids) + missing > self.tokens:
            raise ConfigError(
                f"the shortest text that matches {what} has {len(ids) + missing:,} tokens; "
                f"allow more than {self.tokens:,}"
            )

    def start(self, prompt: Tensor) -> Matching:
        """Begin a text after a prompt (T, B), which is no part of it."""
        rows = prompt.new_full((prompt.shape[1],), 0)
        return Matching(rows + START, rows + self.tokens)

    def apply(self, logits: Tensor, state: Matching) -> Tensor:
        """Return scores (B, V + 1): -inf for what may not follow, and that of the end behind the others."""
        if logits.shape[1] != self.end:
            raise ShapeError(f"the constraint is for {self.end} tokens, the scores are of {logits.shape[1]}")
        position = state.position.cpu()
        allowed = (self.table.needed(position) < state.remaining.cpu()[:, None]).to(logits.device)
        accepting = self.table.accepting[position].to(logits.device)
        scores = logits.new_full((len(logits), self.end + 1), -math.inf)
        scores[:, : self.end] = logits.masked_fill(~allowed, -math.inf)
        ending = accepting.nonzero().squeeze(1)
        scores[ending, self.end] = logits[ending].masked_fill(allowed[ending], -math.inf).logsumexp(1)
        # Without a chance for anything that may follow, all that may is as likely.
        hopeless = scores.amax(1) == -math.inf
        if bool(hopeless.any()):
            may = torch.cat([allowed, accepting[:, None]], 1)
            scores = scores.masked_fill(hopeless[:, None] & may, 0.0)
        return scores

    def advance(self, state: Matching, token: Tensor) -> Matching:
        """Read a token per row, (B,); behind the end there is only the end."""
        ended = token.cpu() == self.end
        after = self.table.next(state.position.cpu(), token.cpu().masked_fill(ended, 0)).masked_fill(ended, DONE)
        return Matching(after.to(token.device), (state.remaining - 1).clamp(min=0))


class BannedTexts(Control):
    """Keeps texts out of what is written, also those that several tokens make together.

    Args:
        texts: which never come; what was written before does not count.
        pieces: the bytes of each of the V tokens.
        end: the id that ends a document, if there is one; after it a text begins anew.
    Raises: ConfigError if the vocabulary has nothing else to write.
    """

    def __init__(self, texts: Sequence[str], pieces: Sequence[bytes], *, end: int | None = None) -> None:
        self._end = end
        self.table = TokenTable(avoiding(texts), pieces, [] if end is None else [end])
        self._open = torch.from_numpy(_endless(len(self.table.accepting), self.table.edges, end is not None))
        if not self._open[START]:
            raise ConfigError(f"without {', '.join(map(repr, texts))} this vocabulary has nothing left to write")

    def allows(self, ids: Sequence[int]) -> bool:
        """Whether a text may begin with these tokens."""
        return bool(self._open[self.table.walk(ids)])

    def start(self, prompt: Tensor) -> Tensor:
        """Begin a text after a prompt (T, B), which is no part of it."""
        return prompt.new_full((prompt.shape[1],), START)

    def apply(self, logits: Tensor, state: Tensor) -> Tensor:
        """Return scores (B, V), -inf for tokens that would complete a banned text, or leave nothing else to come."""
        allowed = self._open[self.table.rows(state.cpu())]
        if self._end is not None:
            allowed[:, self._end] = True
        allowed = allowed.to(logits.device)
        scores = logits.masked_fill(~allowed, -math.inf)
        hopeless = scores.amax(1) == -math.inf
        return scores.masked_fill(hopeless[:, None] & allowed, 0.0) if bool(hopeless.any()) else scores

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        """Read a token per row, (B,)."""
        after = self.table.next(state.cpu(), token.cpu())
        if self._end is not None:
            after = after.masked_fill(token.cpu() == self._end, START)
        return after.to(token.device)


def _endless(states: int, edges: NDArray[np.int64], may_end: bool) -> NDArray[np.bool_]:
    """Return from which states (S,) a text can go on without end, or come to one."""
    going = np.ones(states, np.bool_)
    going[DEAD] = False
    sources, targets = edges
    while not may_end:
        still = np.zeros(states, np.bool_)
        still[sources[going[targets]]] = True
        still &= going
        if (still == going).all():
            break
        going = still
    return going
