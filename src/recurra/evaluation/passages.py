"""Surprisal of lines, tokens or documents of a text that is given piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from recurra.config import check_choice
from recurra.data import Pieces, Tokenizer, Unseen
from recurra.evaluation.streaming import Scored, StreamScorer
from recurra.models import Reader

__all__ = ["UNITS", "Passage", "TextScorer", "TokenScore", "score_texts"]

UNITS = ("line", "token", "document")
LONGEST_TEXT = 1 << 16
"""Bytes of a line that are kept to be shown; all of its tokens count."""


class TokenScore(NamedTuple):
    """A token, how surprising it was, and what was likelier.

    Args:
        position: of the token, from 0.
        token: its printable name.
        bits: -log2 p(token | all before it); None for the very first.
        alternatives: names of the most likely tokens there and their probabilities, best first.
    """

    position: int
    token: str
    bits: float | None
    alternatives: list[tuple[str, float]]


class Passage(NamedTuple):
    """A line or a document, and how surprising it was.

    Args:
        number: of its first line, or of the document, from 1.
        bits: mean over its tokens; None if nothing was predicted.
        most: of the token that was the most surprising.
        tokens: how many were predicted.
        text: of a line, without its end; from 65,536 bytes on it is cut, and ends in an ellipsis. Of a document, none.
    """

    number: int
    bits: float | None
    most: float | None
    tokens: int
    text: str


class _Sums:
    """What is known of a passage that is not at its end."""

    def __init__(self) -> None:
        self.bits, self.most, self.count = 0.0, -np.inf, 0
        self.text = bytearray()
        self.begun = False

    def add(self, bits: float, most: float, count: int, text: bytes) -> None:
        self.bits, self.most, self.count = self.bits + bits, max(self.most, most), self.count + count
        self.text += text[: max(0, LONGEST_TEXT + 1 - len(self.text))]
        self.begun = True

    def close(self, number: int) -> Passage:
        text = bytes(self.text).decode("utf-8", "replace").strip("\r\n")
        if len(self.text) > LONGEST_TEXT:
            text = bytes(self.text[:LONGEST_TEXT]).decode("utf-8", "ignore") + "…"
        some = self.count > 0
        mean, most = (self.bits / self.count, self.most) if some else (None, None)
        return Passage(number, mean, most, self.count, text)


class TextScorer:
    """Scores a text that is given piece by piece, in constant memory; how it is cut changes nothing.

    Args:
        model: whose surprisal it is.
        per: line, token or document.
        alternatives, batch, warmup: as of `StreamScorer`.
    Attributes:
        unseen: the symbols so far that the vocabulary does not have.
        predicted: tokens scored so far.
    """

    def __init__(
        self, model: Reader, *, per: str = "line", alternatives: int = 0, batch: int = 1, warmup: int = 0
    ) -> None:
        check_choice(UNITS, per=per)
        self.tokenizer: Tokenizer = model.vocabulary
        self.unseen = Unseen(self.tokenizer)
        self.predicted = 0
        self._per = per
        self._scorer = StreamScorer(model, alternatives=alternatives, batch=batch, warmup=warmup)
        self._line_ends = np.array([self.tokenizer.decode_bytes([i]).count(b"\n") for i in range(len(self.tokenizer))])
        self.restart()

    def restart(self) -> None:
        """Begin another stream, afresh, at line 1; what waits is dropped."""
        self._scorer.restart()
        self._pieces = Pieces(self.tokenizer, seen=self.unseen.add)
        self._open = _Sums()
        self._position, self._document, self._line = 0, 1, 1

    def feed(self, text: str | bytes) -> list[Any]:
        """Return what is complete by now, each a `TokenScore`, or a `Passage`."""
        return self._group(self._scorer.feed(self._pieces.feed(text)))

    def settle(self) -> list[Any]:
        """Take a text that stops at a line end as it is, though a token might go on behind it."""
        waiting = self._pieces.waiting
        if not waiting or waiting[-1:] not in ("\n", b"\n"):
            return []
        return self._group(self._scorer.feed(self._pieces.finish()))

    def end_document(self, *, closed: bool = False) -> list[Any]:
        """Return what was left of a document.

        Args:
            closed: as each of several documents is: by an end of text, where the vocabulary has one; what came before
                is then forgotten.
        """
        rows = self._group(self._scorer.feed(self._pieces.finish())) + self._group(self._scorer.finish())
        if self._per == "line" and self._open.begun:
            rows.append(self._close_line(1))
        end = self.tokenizer.end
        if closed and end is not None:
            scored = self._scorer.feed(np.array([end]), fresh=np.array([True]))
            rows += self._group(scored) + self._group(self._scorer.finish())
            if self._per == "line":
                self._open = _Sums()  # an end of text stands in no line
        if self._per == "document":
            rows.append(self._open.close(self._document))
            self._open = _Sums()
        self._document, self._line = self._document + 1, 1
        if closed and end is not None:
            self._pieces.restart()
        return rows

    def _group(self, scored: Scored) -> list[Any]:
        self.predicted += int(np.count_nonzero(~np.isnan(scored.bits)))
        if not len(scored.ids):
            return []
        if self._per == "token":
            return self._tokens(scored)
        if self._per == "line":
            return self._lines(scored)
        bits = scored.bits[~np.isnan(scored.bits)]
        self._open.add(float(bits.sum()), float(bits.max(initial=-np.inf)), len(bits), b"")
        return []

    def _tokens(self, scored: Scored) -> list[TokenScore]:
        rows = []
        symbol = self.tokenizer.symbol
        for token, bits, others, others_bits in zip(*(each.tolist() for each in scored), strict=True):
            likelier = [(symbol(o), 2.0**-b) for o, b in zip(others, others_bits, strict=True) if b == b]
            rows.append(TokenScore(self._position, symbol(token), bits if bits == bits else None, likelier))
            self._position += 1
        return rows

    def _lines(self, scored: Scored) -> list[Passage]:
        """Cut at the tokens in whose text a line end stands."""
        ends = self._line_ends[scored.ids]
        cuts = np.flatnonzero(ends) + 1
        starts = np.concatenate([[0], cuts])
        starts = starts[starts < len(ends)]
        known = ~np.isnan(scored.bits)
        sums = np.add.reduceat(np.where(known, scored.bits, 0.0), starts)
        most = np.maximum.reduceat(np.where(known, scored.bits, -np.inf), starts)
        counts = np.add.reduceat(known.astype(np.int64), starts)
        rows = []
        stops = [*starts[1:].tolist(), len(ends)]
        for start, stop, bits, highest, count in zip(
            starts.tolist(), stops, sums.tolist(), most.tolist(), counts.tolist(), strict=True
        ):
            self._open.add(bits, highest, count, self.tokenizer.decode_bytes(scored.ids[start:stop][:LONGEST_TEXT]))
            if ends[stop - 1]:
                rows.append(self._close_line(int(ends[stop - 1])))
        return rows

    def _close_line(self, line_ends: int) -> Passage:
        passage = self._open.close(self._line)
        self._open, self._line = _Sums(), self._line + line_ends
        return passage


def score_texts(model: Reader, texts: Iterable[str | bytes], **settings: Any) -> Iterator[Any]:
    """Yield a score for each line, token or document of a text as it comes.

    Args:
        texts: the text in pieces, cut anywhere: a list of lines, or a file that is open.
        settings: of `TextScorer`: per, alternatives, batch, warmup.
    """
    scorer = TextScorer(model, **settings)
    for text in texts:
        yield from scorer.feed(text)
    yield from scorer.end_document()
