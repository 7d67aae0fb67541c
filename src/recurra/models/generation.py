"""Text from a language model: a prompt in, pieces of its continuation out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.config import check_at_least
from recurra.data import nearest_label
from recurra.decoding import Control, Controlled, Sampler, generate, make_generators, stream_texts
from recurra.errors import ConfigError, VocabularyError
from recurra.models.controlling import make_controls, sort_settings, stop_texts
from recurra.models.modes import evaluating

if TYPE_CHECKING:
    from recurra.models.reading import Reader

__all__ = ["generate_text", "generate_texts", "read_prompt"]


def generate_text(
    model: Reader,
    prompt: str = "",
    *,
    tokens: int = 200,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    condition: str | None = None,
    controls: Sequence[Control] = (),
    **settings: Any,
) -> Iterator[str]:
    """Continue a prompt; hand out the text as it is made.

    Args:
        prompt: without one, the model starts as after a line end.
        tokens: how many to make at most.
        stop: a text, or several, at which to stop; they are not handed out.
        condition: the label of the text, which a model of labelled texts must be told.
        controls: of your own.
        settings: those of `recurra.decoding.Sampler` and of `recurra.models.Wishes`.
    Raises: VocabularyError for a prompt with symbols, or a label, that the vocabulary does not hold; ConfigError for
        settings, for wishes that no text can have, or where a label is missing or has no meaning.
    """
    for (piece,) in _stream(model, prompt, 1, tokens, seed, stop, condition, controls, settings):
        if piece:
            yield piece


def generate_texts(
    model: Reader,
    prompt: str = "",
    *,
    samples: int,
    tokens: int = 200,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    condition: str | None = None,
    controls: Sequence[Control] = (),
    **settings: Any,
) -> list[str]:
    """Continue a prompt several times, side by side; the first text is that of `generate_text`."""
    texts = [""] * samples
    for pieces in _stream(model, prompt, samples, tokens, seed, stop, condition, controls, settings):
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
    return texts


def _stream(
    model: Reader,
    prompt: str,
    samples: int,
    tokens: int,
    seed: int,
    stop: str | Sequence[str],
    condition: str | None,
    controls: Sequence[Control],
    settings: dict[str, Any],
) -> Iterator[list[str]]:
    check_at_least(1, tokens=tokens, samples=samples)
    wishes, sampler = sort_settings(settings, Sampler)
    ids, stops = read_prompt(model, prompt, condition), stop_texts(stop, wishes)
    made, end = make_controls(model, wishes, tokens=tokens, controls=controls)
    source = Controlled(model.step, model.prefill, made, len(model.vocabulary)) if made else model
    with evaluating(model):
        draws = generate(
            source.step,
            model.zero_state(1),
            ids,
            tokens=tokens,
            generators=make_generators(seed, samples),
            sampler=sampler,
            prefill=source.prefill,
            end=end,
        )
        yield from stream_texts(draws, model.vocabulary.decode_bytes, stops=stops, end=end)


def read_prompt(model: Reader, prompt: str, condition: str | None) -> Tensor:
    """Return the ids of a prompt behind its label, (T, 1); the vocabulary's start where there are none."""
    vocabulary = model.vocabulary
    if vocabulary.unknown is None and (unseen := vocabulary.unseen(prompt)):
        names = ", ".join(repr(symbol) for symbol, _ in unseen.most_common(5))
        raise VocabularyError(f"the prompt holds what the model has never seen: {names}; leave it out")
    ids = _read_label(vocabulary.labels, condition) + vocabulary.encode(prompt).tolist() or [vocabulary.start]
    return torch.tensor(ids, dtype=torch.int64, device=model.bias.device).unsqueeze(1)


def _read_label(labels: Mapping[str, int], condition: str | None) -> list[int]:
    """Return the token of a label. Raises: ConfigError or VocabularyError unless it is one where there are labels."""
    if not labels:
        if condition is not None:
            raise ConfigError(f"the model knows no labels, so condition '{condition}' means nothing; leave it out")
        return []
    if condition is None:
        raise ConfigError(
            f"the model writes texts of {len(labels):,} labels; say which as condition{nearest_label('', labels)}"
        )
    if condition not in labels:
        raise VocabularyError(f"the label '{condition}' was never seen in training{nearest_label(condition, labels)}")
    return [labels[condition]]
