"""Text from a language model: a prompt in, pieces of its continuation out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.config import check_at_least, from_mapping
from recurra.decoding import Sampler, generate, make_generators, stream_texts
from recurra.errors import VocabularyError

if TYPE_CHECKING:
    from recurra.models.reading import Reader

__all__ = ["generate_text", "generate_texts"]


def generate_text(
    model: Reader,
    prompt: str = "",
    *,
    tokens: int = 200,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    **sampling: Any,
) -> Iterator[str]:
    """Continue a prompt; hand out the text as it is made.

    Args:
        prompt: without one, the model starts as after a line end.
        tokens: how many to make at most.
        stop: a text, or several, at which to stop; they are not handed out.
        sampling: settings of `recurra.decoding.Sampler`.
    Raises: VocabularyError for a prompt with symbols that the vocabulary does not hold; ConfigError for settings.
    """
    for (piece,) in _stream(model, prompt, 1, tokens, seed, stop, sampling):
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
    **sampling: Any,
) -> list[str]:
    """Continue a prompt several times, side by side; the first text is that of `generate_text`."""
    texts = [""] * samples
    for pieces in _stream(model, prompt, samples, tokens, seed, stop, sampling):
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
    return texts


def _stream(
    model: Reader,
    prompt: str,
    samples: int,
    tokens: int,
    seed: int,
    stop: str | Sequence[str],
    sampling: dict[str, Any],
) -> Iterator[list[str]]:
    check_at_least(1, tokens=tokens, samples=samples)
    sampler, ids = from_mapping(Sampler, sampling), _read_prompt(model, prompt)
    end = model.vocabulary.end
    was_training = model.training
    model.eval()
    try:
        draws = generate(
            model.step,
            model.zero_state(1),
            ids,
            tokens=tokens,
            generators=make_generators(seed, samples),
            sampler=sampler,
            prefill=model.prefill,
            end=end,
        )
        stops = [stop] if isinstance(stop, str) else list(stop)
        yield from stream_texts(draws, model.vocabulary.decode_bytes, stops=stops, end=end)
    finally:
        model.train(was_training)


def _read_prompt(model: Reader, prompt: str) -> Tensor:
    """Return the ids of a prompt, (T, 1); the vocabulary's start where there are none."""
    vocabulary = model.vocabulary
    if vocabulary.unknown is None and (unseen := vocabulary.unseen(prompt)):
        names = ", ".join(repr(symbol) for symbol, _ in unseen.most_common(5))
        raise VocabularyError(f"the prompt holds what the model has never seen: {names}; leave it out")
    ids = vocabulary.encode(prompt).tolist() or [vocabulary.start]
    return torch.tensor(ids, dtype=torch.int64, device=model.bias.device).unsqueeze(1)
