"""Where a text ends, and what of it may be shown already: stop texts and characters span tokens."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence

from recurra.decoding.generate import Draw
from recurra.errors import ConfigError

__all__ = ["StopMatcher", "TextStream", "stream_texts"]


class StopMatcher:
    """Passes a text on, piece by piece, up to the first stop text.

    The stop text that is complete first ends the text, the longest of those that end together. However the text is
    cut into pieces, the result is the same; only an end that might still become a stop text is held back.

    Args:
        stops: texts at which to stop; none, and everything passes.
    Attributes:
        stopped: whether a stop text has been found.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self.stops = tuple(stops)
        if not all(self.stops):
            raise ConfigError("a text to stop at must not be empty")
        self.stopped = False
        self._held = ""

    def push(self, piece: str) -> str:
        """Take the next piece and return what can be shown by now."""
        if self.stopped:
            return ""
        text = self._held + piece
        ends = [(start + len(stop), start) for stop in self.stops if (start := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            self._held = ""
            return text[: min(ends)[1]]
        keep = self._possible_start(text)
        self._held = text[keep:]
        return text[:keep]

    def close(self) -> str:
        """Return what was held back: the text is over, so it is no stop text."""
        rest, self._held = self._held, ""
        return rest

    def _possible_start(self, text: str) -> int:
        """Return where the longest end of the text starts that a stop text begins with."""
        longest = max(map(len, self.stops), default=1)
        first = max(0, len(text) - longest + 1)
        return next((i for i in range(first, len(text)) if any(s.startswith(text[i:]) for s in self.stops)), len(text))


class TextStream:
    """Text from the bytes of tokens, as soon as it is certain.

    A character may span several tokens; its bytes wait until it is whole, and bytes that are not UTF-8 become U+FFFD.

    Args:
        stops: texts at which to stop; they are never part of what is shown.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._matcher = StopMatcher(stops)

    @property
    def stopped(self) -> bool:
        """Whether a stop text has been found; all that follows is ignored."""
        return self._matcher.stopped

    def push(self, piece: bytes) -> str:
        """Take the next bytes and return the text that can be shown by now."""
        return self._matcher.push(self._decoder.decode(piece))

    def close(self) -> str:
        """Return the rest: no more bytes will come."""
        return self._matcher.push(self._decoder.decode(b"", final=True)) + self._matcher.close()


def stream_texts(
    draws: Iterable[Draw],
    decode: Callable[[list[int]], bytes],
    *,
    stops: Sequence[str] = (),
    end: int | None = None,
) -> Iterator[list[str]]:
    """Turn draws into text, row by row, until all rows have met a stop text or their end, or the draws end.

    Args:
        draws: what `generate` makes.
        decode: bytes of ids; those of two sequences, one after the other, are the bytes of both together.
        end: the token that ends a row; it is no text.
    Returns: an iterator of the new text of each row, which may be empty.
    """
    rows: list[TextStream] = []
    for draw in draws:
        ids = draw.ids.tolist()
        rows = rows or [TextStream(stops) for _ in ids]
        yield ["" if token == end else row.push(decode([token])) for row, token in zip(rows, ids, strict=True)]
        if all(row.stopped or token == end for row, token in zip(rows, ids, strict=True)):
            break
    yield [row.close() for row in rows]
