"""Text from a language model: the most probable continuations of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from recurra.config import check_at_least
from recurra.decoding import Beam, Control, Controlled, TextStream, beam_search
from recurra.errors import ConfigError
from recurra.models.controlling import make_controls, sort_settings, stop_texts
from recurra.models.generation import read_prompt
from recurra.models.modes import evaluating

if TYPE_CHECKING:
    from recurra.data import Tokenizer
    from recurra.models.reading import Reader

__all__ = ["Found", "search_texts"]


class Found(NamedTuple):
    """A text that was found.

    Args:
        text: without the prompt, up to a stop text.
        log_p: ln of the probability of its tokens, in nats; the stop text and the end are counted. Controls count as
            the model: a forced token is certain, and those that may follow share what those that may not would have.
        score: what it is ranked by.
    """

    text: str
    log_p: float
    score: float


def search_texts(
    model: Reader,
    prompt: str = "",
    *,
    width: int,
    tokens: int = 200,
    stop: str | Sequence[str] = (),
    condition: str | None = None,
    controls: Sequence[Control] = (),
    **settings: Any,
) -> list[Found]:
    """Search for the most probable continuations of a prompt.

    Args:
        prompt: without one, the model starts as after a line end.
        width: of the beam.
        tokens: most tokens of a continuation.
        stop: a text, or several, that end a continuation; they are no part of the result.
        condition: the label of the text, which a model of labelled texts must be told.
        controls: of your own; what they add behind the vocabulary ends a continuation.
        settings: further ones of `recurra.decoding.Beam`: length_penalty, groups, diversity, best; and those of
            `recurra.models.Wishes`.
    Returns: the best texts, best first, each once though several sequences of tokens may spell it.
    Raises: VocabularyError for a prompt with symbols that the vocabulary does not hold; ConfigError for settings, a
        beam wider than the vocabulary, or controls that leave no text at all.
    """
    check_at_least(1, tokens=tokens)
    wishes, beam = sort_settings({"width": width, **settings}, Beam)
    vocabulary = model.vocabulary
    beam.check_vocabulary(len(vocabulary))
    reader = _Reader(vocabulary, stop_texts(stop, wishes))
    made, _ = make_controls(model, wishes, tokens=tokens, controls=controls)
    controlled = Controlled(model.step, model.prefill, made, len(vocabulary))
    # Several sequences may spell one text: where several texts are asked for, there must be some to spare.
    search = asdict(beam) | {"best": 1 if beam.best == 1 else beam.width}
    with evaluating(model):
        (found,) = beam_search(
            controlled.step,
            model.zero_state(1),
            read_prompt(model, prompt, condition),
            tokens=tokens,
            prefill=controlled.prefill,
            finished=reader.has_ended,
            **search,
        )
    if not found:
        raise ConfigError("the constraints leave no text that could be found; loosen them")
    texts: dict[str, Found] = {}
    for ids, log_p, score in found:
        text = reader.text(ids)
        texts.setdefault(text, Found(text, log_p, score))
    return list(texts.values())[: beam.best]


class _Reader:
    """Reads sequences of tokens as texts that end at the vocabulary's end, behind the vocabulary, or at a stop text."""

    def __init__(self, vocabulary: Tokenizer, stops: Sequence[str]) -> None:
        self._vocabulary, self._stops = vocabulary, stops
        TextStream(stops)  # refuses what cannot be stopped at before anything is searched for

    def has_ended(self, ids: Sequence[int]) -> bool:
        """Tell whether the last token ends a text."""
        if self._is_silent(ids[-1]):
            return True
        return bool(self._stops) and self._read(ids)[1].stopped

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        text, stream = self._read(ids)
        return text + stream.close()

    def _read(self, ids: Sequence[int]) -> tuple[str, TextStream]:
        stream = TextStream(self._stops)
        spoken = ids[:-1] if self._is_silent(ids[-1]) else ids
        return stream.push(self._vocabulary.decode_bytes(spoken)), stream

    def _is_silent(self, token: int) -> bool:
        return token == self._vocabulary.end or token >= len(self._vocabulary)
