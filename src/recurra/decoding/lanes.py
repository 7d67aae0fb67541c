"""The search for one input: hypotheses that run side by side in lanes, and those that have ended."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from recurra.config import check_at_least
from recurra.errors import ConfigError

__all__ = ["Beam", "Candidates", "Hypothesis", "Search"]

Candidates = Sequence[tuple[int, float]]
"""Tokens that may come next and their log-probabilities, the most likely first, of equals the lowest id."""


STRONGEST = 10
"""Above it only lengths would count, and soon they could not be computed."""


@dataclass(frozen=True, kw_only=True)
class Beam:
    """How to search.

        score(y) = ln p(y) / |y|^α

    Args:
        width: hypotheses that run side by side for each input, in all groups together.
        length_penalty: α, from 0 to 10; 0 ranks by probability alone, which favours short texts, and 1 by the mean
            log-probability of a token. |y| counts the end.
        groups: parts of the beam, of one size, that are kept apart from each other by `diversity`.
        diversity: λ, nats that a token costs a group for each hypothesis of the groups before it that has just taken
            the same token. It decides what is taken, and is no part of the log-probability.
        best: how many hypotheses to return.
    Raises: ConfigError for settings that do not fit each other.
    Source: Sutskever, Vinyals & Le 2014; length normalisation Wu et al. 2016 (their eq. 14 without the 5); groups and
        the Hamming diversity between them Vijayakumar et al. 2016.
    """

    width: int
    length_penalty: float = 0.0
    groups: int = 1
    diversity: float = 0.0
    best: int = 1

    def __post_init__(self) -> None:
        check_at_least(1, width=self.width, groups=self.groups, best=self.best)
        check_at_least(0, length_penalty=self.length_penalty, diversity=self.diversity)
        if self.length_penalty > STRONGEST or math.isinf(self.diversity):
            raise ConfigError(f"'length_penalty' is at most {STRONGEST}, and 'diversity' is finite")
        if self.best > self.width:
            raise ConfigError(f"a beam of {self.width} finds no {self.best} best; ask for {self.width} at most")
        if self.width % self.groups:
            raise ConfigError(f"a beam of {self.width} has no {self.groups} groups of one size; give a multiple")
        if (self.groups > 1) != (self.diversity > 0):
            raise ConfigError("'groups' and 'diversity' go together: give 2 groups or more, and a diversity above 0")

    def check_vocabulary(self, size: int) -> None:
        """Raise ConfigError for a beam that is wider than a vocabulary: its places could not be filled."""
        if self.width > size:
            raise ConfigError(
                f"a beam of {self.width:,} is wider than the vocabulary of {size:,} tokens; give {size:,} at most"
            )


class Hypothesis(NamedTuple):
    """A sequence that was found.

    Args:
        tokens: ids, the end included where it was reached.
        log_p: ln of its probability, in nats.
        score: what it is ranked by.
    """

    tokens: tuple[int, ...]
    log_p: float
    score: float


class Running(NamedTuple):
    """A sequence that has not ended: its tokens, ln of its probability, and where its state is in the batch."""

    tokens: tuple[int, ...]
    log_p: float
    row: int


class Lane:
    """Hypotheses that compete for so many places."""

    def __init__(self, places: int, row: int) -> None:
        self.places = places
        self.running = [Running((), 0.0, row)]

    def choose(self, candidates: Sequence[Candidates], costs: Mapping[int, float]) -> list[Running]:
        """Return the most likely continuations, best first, as many as there are places.

        Of equals comes first the one of the earlier hypothesis, then its more likely token, then the lower id.
        """
        options = [
            (log_p - costs.get(token, 0.0), log_p, token, hypothesis)
            for hypothesis in self.running
            for token, log_p in ((token, hypothesis.log_p + nats) for token, nats in candidates[hypothesis.row])
        ]
        options.sort(key=lambda option: -option[0])  # keeps the order of equals
        return [
            Running((*hypothesis.tokens, token), log_p, hypothesis.row)
            for _, log_p, token, hypothesis in options[: self.places]
        ]


class Search:
    """Beam search for one input.

    What ends leaves the beam and takes its place with it. The greedy path has a lane of its own, as a beam can lose it;
    where it is in the beam as well, both are one row of the batch.

    Args:
        beam: settings.
        limit: most tokens of a hypothesis, at least 1.
        row: where the state after the prompt is in the batch.
        is_end: whether a sequence has ended.
    """

    def __init__(self, beam: Beam, limit: int, row: int, is_end: Callable[[tuple[int, ...]], bool]) -> None:
        self._beam, self._limit, self._is_end = beam, limit, is_end
        places = beam.width // beam.groups
        self._groups = [Lane(places, row) for _ in range(beam.groups)]
        self._lanes = self._groups if places == 1 else [*self._groups, Lane(1, row)]
        self._found: dict[tuple[int, ...], Hypothesis] = {}

    @property
    def running(self) -> Iterable[Running]:
        """All that have not ended."""
        return (hypothesis for lane in self._lanes for hypothesis in lane.running)

    @property
    def best(self) -> list[Hypothesis]:
        """The best that have ended, of equals the one that ended first."""
        return sorted(self._found.values(), key=lambda found: -found.score)[: self._beam.best]

    def advance(self, candidates: Sequence[Candidates]) -> None:
        """Let all hypotheses go on by a token.

        Args:
            candidates: of each row of the batch.
        """
        uses: Counter[int] = Counter()
        for lane in self._lanes:
            is_group = lane in self._groups
            costs = {token: self._beam.diversity * count for token, count in uses.items()} if is_group else {}
            chosen = lane.choose(candidates, costs)
            lane.running = [hypothesis for hypothesis in chosen if not self._collect(hypothesis)]
            lane.places -= len(chosen) - len(lane.running)
            uses.update(hypothesis.tokens[-1] for hypothesis in chosen)
        if self._is_settled():
            for lane in self._lanes:
                lane.running = []

    def renumber(self, rows: dict[tuple[int, int], int]) -> None:
        """Give each hypothesis its row of the next batch: equal tokens behind one row are one row.

        Args:
            rows: by row of this batch and token to be read; new ones are added.
        """
        for lane in self._lanes:
            lane.running = [
                hypothesis._replace(row=rows.setdefault((hypothesis.row, hypothesis.tokens[-1]), len(rows)))
                for hypothesis in lane.running
            ]

    def _collect(self, hypothesis: Running) -> bool:
        """Keep a hypothesis if it has ended; tell whether it has."""
        tokens, log_p, _ = hypothesis
        if len(tokens) < self._limit and not self._is_end(tokens):
            return False
        self._found.setdefault(tokens, Hypothesis(tokens, log_p, self._score(log_p, len(tokens))))
        return True

    def _is_settled(self) -> bool:
        """Tell whether nothing that still runs can come before what is kept.

        Log-probabilities only fall. With α >= 0, what falls no further scores highest at the greatest length.
        """
        best = self.best
        if len(best) < self._beam.best:
            return False
        return all(self._score(hypothesis.log_p, self._limit) <= best[-1].score for hypothesis in self.running)

    def _score(self, log_p: float, length: int) -> float:
        return log_p / math.pow(length, self._beam.length_penalty)
