"""Text from a language model: a prompt in, pieces of its continuation out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.config import check_at_least, from_mapping
from recurra.data import nearest_label
from recurra.decoding import Controlled, Prefill, Sampler, Step, Withheld, generate, make_generators, stream_texts
from recurra.errors import ConfigError, VocabularyError

if TYPE_CHECKING:
    from recurra.models.language_model import LanguageModel

__all__ = ["generate_text", "generate_texts"]


def generate_text(
    model: LanguageModel,
    prompt: str = "",
    *,
    tokens: int = 200,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    condition: str | None = None,
    **sampling: Any,
) -> Iterator[str]:
    """Continue a prompt; hand out the text as it is made.

    Args:
        prompt: without one, the model starts as after a line end.
        tokens: how many to make at most.
        stop: a text, or several, at which to stop; they are not handed out.
        condition: the label of the text, which a model of labelled texts must be told.
        sampling: settings of `recurra.decoding.Sampler`.
    Raises: VocabularyError for a prompt with symbols, or a label, that the vocabulary does not hold; ConfigError for
        settings, or where a label is missing or has no meaning.
    """
    for (piece,) in _stream(model, prompt, 1, tokens, seed, stop, condition, sampling):
        if piece:
            yield piece


def generate_texts(
    model: LanguageModel,
    prompt: str = "",
    *,
    samples: int,
    tokens: int = 200,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    condition: str | None = None,
    **sampling: Any,
) -> list[str]:
    """Continue a prompt several times, side by side; the first text is that of `generate_text`."""
    texts = [""] * samples
    for pieces in _stream(model, prompt, samples, tokens, seed, stop, condition, sampling):
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
    return texts


def _stream(
    model: LanguageModel,
    prompt: str,
    samples: int,
    tokens: int,
    seed: int,
    stop: str | Sequence[str],
    condition: str | None,
    sampling: dict[str, Any],
) -> Iterator[list[str]]:
    check_at_least(1, tokens=tokens, samples=samples)
    sampler, ids = from_mapping(Sampler, sampling), _read_prompt(model, prompt, condition)
    end = model.vocabulary.end
    step: Step = model.step
    prefill: Prefill = model.prefill
    if model.vocabulary.labels:  # no text goes on with a label
        controls = [Withheld(list(model.vocabulary.labels.values()))]
        controlled = Controlled(step, prefill, controls, len(model.vocabulary))
        step, prefill = controlled.step, controlled.prefill
    was_training = model.training
    model.eval()
    try:
        draws = generate(
            step,
            model.zero_state(1),
            ids,
            tokens=tokens,
            generators=make_generators(seed, samples),
            sampler=sampler,
            prefill=prefill,
            end=end,
        )
        stops = [stop] if isinstance(stop, str) else list(stop)
        yield from stream_texts(draws, model.vocabulary.decode_bytes, stops=stops, end=end)
    finally:
        model.train(was_training)


def _read_prompt(model: LanguageModel, prompt: str, condition: str | None) -> Tensor:
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
